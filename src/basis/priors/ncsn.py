"""NCSN: the noise-conditional score network that the paper's strongest results use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from basis.core.checks import image_of
from basis.core.errors import UsageError
from basis.core.prior import ScorePrior, per_example
from basis.core.schedule import geometric
from basis.core.settings import Count, Positive
from basis.nn.refinenet import RefineNet

CPU_BATCH = 32  # images
TOLERANCE = 1e-3  # relative distance within which a noise level counts as a trained one


class NCSN(ScorePrior):
    """Score network at the noise levels it was trained on, as published.

    Version 1 (Song & Ermon 2019) conditions its norms on the level: ``∇ log p_σ(x) = s(2 x - 1, i)`` at ``σ = σ_i``.
    Version 2 (Song & Ermon 2020) does not: ``∇ log p_σ(x) = s(2 x - 1) / σ``.

    Args:
        shape: (C, H, W) of an image.
        width: features at full resolution, published as ngf: 64 for MNIST, 128 for CIFAR-10.
        sigmas: the noise levels σ_1 > … > σ_L, for images in [0, 1]; the published ten of version 1 by default.
        version: 1 or 2.

    Raises:
        UsageError: unknown version; in `score`, a noise level that the network was not trained on.

    Example:
        >>> prior = NCSN(shape=[1, 28, 28], width=8)
        >>> prior.score(torch.zeros(2, 1, 28, 28), 0.01).shape
        torch.Size([2, 1, 28, 28])
        >>> prior.score(torch.zeros(2, 1, 28, 28), 0.3)
        Traceback (most recent call last):
        basis.core.errors.UsageError: the prior was not trained at noise level 0.3 ...
    """

    def __init__(
        self, shape: Sequence[Count], width: Count, sigmas: Sequence[Positive] | None = None, version: int = 1
    ) -> None:
        levels = geometric().tolist() if sigmas is None else list(sigmas)
        if version not in (1, 2):
            raise UsageError(f"expected NCSN version 1 or 2, got {version}", fix="give 2 for NCSNv2, else 1")
        super().__init__(image_of(shape, "NCSN"), data_range=(0.0, 1.0), levels=levels)
        self.version = version
        self.network = RefineNet(self.shape[0], width, len(levels) if version == 1 else None)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        label = self._label(sigma, x.device)
        if self.version == 1:
            return self._network(2 * x - 1, label)
        return self._network(2 * x - 1, None) / per_example(sigma, x)

    def _label(self, sigma: float | Tensor, device: torch.device) -> Tensor:
        """Return the numbers of the noise levels, (B,) or (1,)."""
        known = torch.tensor(self.levels, dtype=torch.float64, device=device)
        wanted = torch.as_tensor(sigma, dtype=torch.float64, device=device).reshape(-1)
        distance, label = (wanted[:, None] / known - 1).abs().min(1)
        if (distance > TOLERANCE).any():
            names = ", ".join(f"{level:.4g}" for level in self.levels or ())
            raise UsageError(
                f"the prior was not trained at noise level {wanted[distance.argmax()]:.4g} but at {names}",
                fix="take levels from the prior's `levels`, as method 'basis' does",
            )
        return label

    def _network(self, x: Tensor, label: Tensor | None) -> Tensor:
        """Call the network, on a CPU in parts that stay in its caches."""
        if x.device.type != "cpu" or torch.is_grad_enabled() or len(x) <= CPU_BATCH:
            return self.network(x, label).float()
        parts = x.split(CPU_BATCH)
        labels = label.split(CPU_BATCH) if label is not None and len(label) > 1 else [label] * len(parts)
        return torch.cat([self.network(*part).float() for part in zip(parts, labels, strict=True)])
