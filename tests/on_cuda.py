"""CUDA's autocast on a machine without a GPU: what it casts to float32, and a CPU's autocast does not."""

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# "CUDA Ops that can autocast to float32", https://docs.pytorch.org/docs/stable/amp.html, and what is made of them:
# `square` is `pow`, `std` and `var` are none, `__rdiv__` is `reciprocal`.
NAMES = """
    __pow__ __rdiv__ __rpow__ acos asin cdist cosh cosine_similarity cumprod cumsum dist erfinv exp expm1 log log10
    log1p log2 log_softmax logsumexp norm pow prod reciprocal renorm rsqrt sinh softmax softmin square sum tan
"""
FUNCTIONAL = """
    binary_cross_entropy_with_logits cosine_embedding_loss cosine_similarity cross_entropy group_norm
    hinge_embedding_loss interpolate kl_div l1_loss layer_norm log_softmax margin_ranking_loss mse_loss
    multi_margin_loss nll_loss normalize pdist poisson_nll_loss smooth_l1_loss soft_margin_loss softmax softmin
    softplus triplet_margin_loss upsample
"""
FLOAT32 = {
    getattr(place, name)
    for place, names in ((torch, NAMES), (torch.Tensor, NAMES), (functional, FUNCTIONAL))
    for name in names.split()
    if hasattr(place, name)
} | {torch.linalg.vector_norm, torch.linalg.matrix_norm}


class AsOnCuda(TorchFunctionMode):
    """Casts to float32 what CUDA's autocast does, as far as functions of Python say it; notes what it cast."""

    def __init__(self):
        super().__init__()
        self.cast = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in FLOAT32:
            args = torch.utils._pytree.tree_map(self._float32(function), args)
            kwargs = torch.utils._pytree.tree_map(self._float32(function), kwargs)
        return function(*args, **kwargs)

    def _float32(self, function):
        def cast(value):
            if isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16):
                self.cast.add(function.__name__)
                return value.float()
            return value

        return cast
