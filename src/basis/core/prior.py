"""The idea everything else stands on: a prior is a denoiser at every noise level."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from basis.core.arrays import plain_torch
from basis.core.checks import data_range_of, levels_of, shape_of
from basis.core.errors import UsageError
from basis.core.plausibility import Calibration
from basis.core.presets import Presets
from basis.core.pretrained import Pretrained
from basis.core.settings import Typed

CPU_PART = 2**17  # numbers in the examples whose graph is held at a time
SMALLER = "end what else uses the device, compute in bf16 (Accelerated, --precision bf16), or on the CPU"


class Prior(Typed, Pretrained, nn.Module, ABC):
    """A distribution p over examples, given by the denoiser ``D(x, σ) = E[x₀ | x₀ + σ ε = x]``.

    x₀ is drawn from p, and ε from N(0, I). ``p_σ`` is the distribution of ``x₀ + σ ε`` (Jayaram & Thickstun 2020,
    section 3.2). Its score follows by Tweedie's formula, ``∇ log p_σ(x) = (D(x, σ) - x) / σ²``. A subclass defines
    `denoise`. For a model that gives the score itself, derive from `ScorePrior`; for one that gives a density, from
    `DensityPrior`. Noise levels are in units of the data.

    Args:
        shape: shape S of one example, for instance (1, 28, 28).
        data_range: smallest and largest value that the data can take, for instance (0.0, 1.0); None for any.
        levels: noise levels that the prior knows, decreasing, where it knows only some; None for any.
        condition: the linear measurement of x that the network takes as a clean input, by the name of its mixing, for
            instance "grayscale". The rest of x has noise of level σ. None for an unconditional prior.

    Attributes:
        calibration: what the prior's own examples look like to it, by which `separate` tells whether sources are
            likely; None where it was not measured, see `basis.calibrate`.
        presets: the settings that suit the prior; None for those by default. `load_prior` reads them from its card.

    Example:
        >>> class Normal(Prior):
        ...     def denoise(self, x, sigma):
        ...         return x / (1 + per_example(sigma, x) ** 2)
        >>> Normal(shape=(1,)).score(torch.tensor([[2.0]]), 1.0)
        tensor([[-1.]])
    """

    calibration: Calibration | None = None
    presets: Presets | None = None

    def __init__(
        self,
        shape: Sequence[int],
        data_range: Sequence[float] | None = None,
        levels: Sequence[float] | None = None,
        condition: str | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.data_range = shape_of(shape), None if data_range is None else data_range_of(data_range)
        self.levels = None if levels is None else levels_of(levels)
        self.condition = condition

    @abstractmethod
    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return ``D(x, σ) = E[x₀ | x₀ + σ ε = x]``.

        Args:
            x: examples, (B, *S).
            sigma: noise level > 0, one number for all examples or a tensor (B,); of stacks of sources also (B, K), one
                for each source.

        Returns:
            The denoised estimate, (B, *S), in units of the data.
        """

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return ``∇ log p_σ(x) = (D(x, σ) - x) / σ²`` (Tweedie's formula), (B, *S), in inverse units of the data."""
        return (self.denoise(x, sigma) - x) / per_example(sigma, x) ** 2

    def lipschitz(self, sigma: float) -> float:
        """Return an upper estimate of the Lipschitz constant of ``score(·, sigma)``, for choosing step sizes.

        Convolution with N(0, σ²I) leaves -∇² log p_σ ≤ 1/σ², whatever p is.
        """
        return 1 / sigma**2

    @property
    def device(self) -> torch.device:
        """Device on which the prior computes (CPU where it has no tensors)."""
        tensors = (*self.parameters(), *self.buffers())
        return tensors[0].device if tensors else torch.device("cpu")


class ScorePrior(Prior):
    """A prior given by its score; the denoised estimate follows, ``D(x, σ) = x + σ² ∇ log p_σ(x)``.

    Example:
        >>> class Normal(ScorePrior):
        ...     def score(self, x, sigma):
        ...         return -x / (1 + per_example(sigma, x) ** 2)
        >>> Normal(shape=(1,)).denoise(torch.tensor([[2.0]]), 1.0)
        tensor([[1.]])
    """

    @abstractmethod
    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return ∇ log p_σ(x), (B, *S), in inverse units of the data; arguments as for `Prior.denoise`."""

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        score = self.score(x, sigma)
        x = x if score.requires_grad else x.detach()  # without derivatives of the score there are none of D
        return x + per_example(sigma, x) ** 2 * score


class DensityPrior(ScorePrior):
    """A prior given by its density; the score follows by differentiation.

    Example:
        >>> class Normal(DensityPrior):
        ...     def log_prob(self, x, sigma):
        ...         return torch.distributions.Normal(0, (1 + sigma**2) ** 0.5).log_prob(x).sum(1)
        >>> Normal(shape=(1,)).score(torch.tensor([[2.0]]), 1.0)
        tensor([[-1.0000]])
    """

    @abstractmethod
    def log_prob(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return log p_σ(x) in nats, (B,), a density with respect to the units of x; ``sigma = 0`` is p itself."""

    def initialise(self, x: Tensor, sigma: Tensor) -> None:
        """Set initial values that depend on the data from a first batch x + σ ε, (B, *S); most priors have none."""

    @plain_torch()
    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return ∇ log p_σ(x), (B, *S), as `Prior.score`; it can itself be differentiated where x asks for it."""
        if torch.is_grad_enabled() and x.requires_grad:  # the score itself is to be differentiated
            return self._gradient(x, sigma, further=True)
        # On a CPU in parts, whose graphs are in memory one at a time.
        size = max(CPU_PART // math.prod(x.shape[1:]) if x.device.type == "cpu" else len(x), 1)
        sigmas = sigma.split(size) if isinstance(sigma, Tensor) and sigma.dim() else itertools.repeat(sigma)
        x = x.clone() if x.is_inference() else x.detach()
        parts = zip(x.split(size), sigmas, strict=False)
        return torch.cat([self._gradient(part.requires_grad_(), own, further=False) for part, own in parts])

    def _gradient(self, x: Tensor, sigma: float | Tensor, *, further: bool) -> Tensor:
        with torch.enable_grad():
            return torch.autograd.grad(self.log_prob(x, sigma).sum(), x, create_graph=further)[0]


PROPERTIES = ("shape", "data_range", "levels", "condition", "calibration", "presets")


class Wrapper(Prior):
    """A prior made of another one. It has every property of that prior that it does not change.

    Args:
        prior: the prior inside.
        **changed: properties of the new prior that differ: shape, data range, levels, condition, calibration,
            presets.

    Example:
        >>> class Half(Wrapper):
        ...     def denoise(self, x, sigma):
        ...         return self.prior.denoise(x, sigma) / 2
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> Half(unit).shape, Half(unit).denoise(torch.tensor([[2.0]]), 1.0)
        ((1,), tensor([[0.5000]]))
    """

    def __init__(self, prior: Prior, **changed: Any) -> None:
        found = {name: changed.get(name, getattr(prior, name)) for name in PROPERTIES}
        calibration, presets = found.pop("calibration"), found.pop("presets")
        super().__init__(**found)
        self.prior, self.calibration, self.presets = prior, calibration, presets

    def lipschitz(self, sigma: float) -> float:
        return self.prior.lipschitz(sigma)

    @property
    def device(self) -> torch.device:
        return self.prior.device


class Product(Prior):
    """K independent sources: ``p(x) = Π_i p_i(x_i)`` (equation 13), over stacks x of shape (B, K, *S).

    The same prior object given several times is evaluated in one call on all of its sources. Where such a call, made
    without gradients, runs out of a device's memory, its examples are asked for in parts, halved until they fit, with
    the same result; the number that fitted is kept for later calls.

    Args:
        priors: K priors of one shape and data range, those with discrete noise levels all with the same.

    Raises:
        UsageError: no prior, or priors of different shapes, data ranges or noise levels; in `denoise` and `score`, a
            single example that does not fit into memory.

    Example:
        >>> from basis import load_prior
        >>> prior = load_prior("mnist")
        >>> Product([prior, prior]).score(torch.zeros(1, 2, 1, 28, 28), 0.5).shape
        torch.Size([1, 2, 1, 28, 28])
    """

    def __init__(self, priors: Sequence[Prior]) -> None:
        kinds = {(prior.shape, prior.data_range) for prior in priors}
        if len(kinds) != 1:
            raise UsageError(
                "the sources need priors of one shape and data range, got "
                f"{sorted(kinds, key=str) or 'no prior at all'}",
                fix="choose priors of one shape, one a source",
            )
        levels = {prior.levels for prior in priors if prior.levels}
        if len(levels) > 1:
            raise UsageError(
                "the sources' priors were trained at different noise levels",
                fix="choose priors that share their levels, or one that covers all of them",
            )
        shape, data_range = kinds.pop()
        condition = priors[0].condition if len(priors) == 1 else None
        super().__init__((len(priors), *shape), data_range, levels.pop() if levels else None, condition)
        self.distinct = list(dict.fromkeys(priors))
        self.order = [self.distinct.index(prior) for prior in priors]
        self.members = nn.ModuleList(self.distinct)  # so that `.to(device)` reaches them
        self.room: dict[Prior, int] = {}  # examples in one call of a prior, where memory has no room for all

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self._each("denoise", x, sigma)

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self._each("score", x, sigma)

    def _each(self, method: str, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return what a method of the priors, "denoise" or "score", gives for each source, (B, K, *S)."""
        if x.shape[1] != len(self.order):
            raise UsageError(
                f"expected a stack of {len(self.order)} sources, (B, K, ...), got {tuple(x.shape)}",
                fix="give as many sources as there are priors",
            )
        own = sigma if isinstance(sigma, Tensor) and sigma.dim() else None
        if len(self.distinct) == 1 and own is None:
            return self._in_parts(self.distinct[0], method, x.flatten(0, 1), sigma).unflatten(0, x.shape[:2])
        found = torch.empty_like(x)
        for j, prior in enumerate(self.distinct):
            mine = [k for k, i in enumerate(self.order) if i == j]
            flat = x[:, mine].flatten(0, 1)
            level = sigma if own is None else self._levels(own, len(x))[:, mine].flatten()
            found[:, mine] = self._in_parts(prior, method, flat, level).unflatten(0, (-1, len(mine)))
        return found

    def _levels(self, sigma: Tensor, count: int) -> Tensor:
        """Return the noise level of each source, (B, K), of levels (B,) or (B, K)."""
        return sigma.reshape(len(sigma), -1).expand(count, len(self.order))

    def _in_parts(self, prior: Prior, method: str, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return what a method of a prior gives for x, (N, *S), from as many calls as memory needs."""
        if torch.is_grad_enabled() or not len(x):  # the graphs of parts, kept together, are as large as that of all
            return _called(prior, method, x, sigma)
        found, start = [], 0
        while start < len(x):
            part = slice(start, start + self.room.get(prior, len(x)))
            try:
                own = sigma[part] if isinstance(sigma, Tensor) and sigma.dim() else sigma
                found.append(_called(prior, method, x[part], own))
                start = part.stop
                continue
            except torch.OutOfMemoryError as error:
                count = len(x[part])
                if count == 1:
                    raise UsageError(
                        f"one example of shape {prior.shape} does not fit into the memory of {x.device}", fix=SMALLER
                    ) from error
                self.room[prior] = math.ceil(count / 2)
            free_cache(x.device)  # only now: the error held what the call had allocated
        return torch.cat(found)


def _called(prior: Prior, method: str, x: Tensor, sigma: float | Tensor) -> Tensor:
    """Return what a method of a prior gives for x, (B, *S), in the type of x.

    An error that weights of another type cause says so.
    """
    try:
        found = getattr(prior, method)(x, sigma)
        if not isinstance(found, Tensor) or found.shape != x.shape or found.is_complex():
            got = f"{tuple(found.shape)}, {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
            raise UsageError(
                f"expected {method} of {type(prior).__name__} to return shape {tuple(x.shape)}, got {got}",
                fix="let it return a tensor like x",
            )
        return found.to(x.dtype)
    except RuntimeError as error:
        types = {str(p.dtype)[6:] for p in prior.parameters() if p.is_floating_point() and p.dtype != x.dtype}
        if isinstance(error, torch.OutOfMemoryError) or not types:
            raise
        raise UsageError(
            f"the prior's weights are {', '.join(sorted(types))}, no match for {str(x.dtype)[6:]} samples",
            fix="call prior.float(); for speed use basis.Accelerated(prior, 'bf16')",
        ) from error


def free_cache(device: torch.device) -> None:
    """Give back to the device the memory that torch keeps for tensors to come; CPUs have no such store."""
    if device.type in ("cuda", "xpu", "mps"):
        getattr(torch, device.type).empty_cache()


def per_example(value: float | Tensor, x: Tensor) -> Tensor:
    """Return ``value``, a number, (B,) or (B, K), as a tensor that broadcasts against x of shape (B, K, ...)."""
    value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    return value.reshape(*value.shape, *[1] * (x.dim() - value.dim())) if value.dim() else value
