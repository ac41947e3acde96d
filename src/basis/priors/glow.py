"""Glow: a normalising flow as a prior, whose density is explicit; one flow for each noise level, or one for all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import safetensors
import torch
from torch import Tensor, nn

from basis.core.errors import DataError, DivergenceError, UsageError, shown
from basis.core.noise import Noise
from basis.core.prior import DensityPrior, per_example
from basis.core.settings import Count, Finite, NonNegative, Whole, takes
from basis.io.checkpoint import described, open_weights, still
from basis.io.loading import build
from basis.nn.glow import GlowNetwork

FLOOR = 0.005  # noise level below which a σ-conditional network sees little difference, and what stands for 0
SAME = 2e-3  # relative difference up to which two noise levels are the same: 0.0167 is 0.01668101
BINS = 256  # of 8-bit images
MOST = 30  # scales


class Glow(DensityPrior):
    """Normalising flow of Kingma & Dhariwal 2018, as the paper uses it (section 3.5).

    ``log p_σ(x) = log N(f_σ(y); 0, I) + log |det ∂f_σ/∂y| - D log c`` with ``y = (x - mean) / c``, and ``c = 1``, or
    ``c = √(std² + σ²)`` where ``std`` is given.

    Densities are those of continuous images x in [0, 1], in nats. Of 8-bit images k the density belongs to
    ``x = (k + u) / 256``, u uniform on [0, 1)^D (uniform dequantisation); nothing is added here. The figure that the
    released code calls log p is this minus D log 256, see also `bits_per_dim`.

    Args:
        shape: (C, H, W) of an image; H and W divisible by ``2**scales``.
        levels: decreasing noise levels, each with a network of its own, as fine-tuning makes them; 0, if it is there,
            stands last and is the density of the data themselves. None for one network that is told σ.
        scales, depth, width, affine, lu, learned_top: the network's size and kind, see
            `basis.nn.glow.GlowNetwork`.
        mean, std: see above; published networks see x - 0.5.
        sigma_max: largest noise level of a network that is told σ.
        embedding: width of that network's embedding of σ.

    Raises:
        UsageError: an argument is out of its range; a noise level that the prior does not know, with those it knows.
        DivergenceError: the flow is not invertible, or not finite; says where.

    Example:
        >>> from basis.priors.glow import Glow
        >>> prior = Glow([1, 8, 8], scales=2, depth=1, width=8).eval()
        >>> x = prior.sample(2, sigma=0.1)
        >>> prior.log_prob(x, 0.1).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape: Sequence[int],
        levels: Sequence[float] | None = None,
        scales: int = 3,
        depth: int = 32,
        width: int = 512,
        affine: bool = True,
        lu: bool = False,
        learned_top: bool = True,
        mean: Finite = 0.5,
        std: float | None = None,
        sigma_max: float = 1.0,
        embedding: Whole = 64,
    ) -> None:
        self._check(shape, levels, scales, depth, width, std, sigma_max)
        own = None if levels is None else tuple(float(level) for level in levels)
        super().__init__(shape, data_range=(0.0, 1.0), levels=[level for level in own or () if level > 0] or None)
        self.own_levels, self.mean, self.std, self.sigma_max = own, mean, std, sigma_max
        self.networks = nn.ModuleList(
            GlowNetwork(
                self.shape, scales, depth, width, affine=affine, lu=lu, learned_top=learned_top,
                embedding=0 if own else embedding,
            )
            for _ in own or [0.0]
        )  # fmt: skip
        self.file: Path | None = None
        self.active = 0  # of a prior that reads its networks one at a time: which of them is in memory

    @classmethod
    def one_at_a_time(cls, source: str | Path, device: str = "cpu", sha256: str | None = None) -> Glow:
        """Load a prior of several levels with one network in memory, read anew from the file whenever σ changes.

        Args, result and errors are those of `basis.load_prior`.
        """
        path, config = open_weights(source, sha256)
        _, arguments = described(path, config, "prior")
        whole = arguments.get("levels")
        with safetensors.safe_open(path, "pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        own = {**arguments, "levels": whole[:1] if isinstance(whole, list) else whole}
        prior = build(path, lambda: cls(**own), [math.prod(shape) for shape in shapes.values()])
        one = {key.removeprefix("networks.0."): tuple(value.shape) for key, value in prior.state_dict().items()}
        count = 1 if whole is None else len(whole)
        if shapes != {f"networks.{i}.{key}": shape for i in range(count) for key, shape in one.items()}:
            raise DataError(f"{path} does not hold the {count} networks that it describes", fix="write it anew")
        if whole is not None:
            prior.own_levels = tuple(map(float, whole))
            prior.levels = tuple(level for level in prior.own_levels if level > 0)
        prior.file = path
        prior._read(0)
        return prior.eval().requires_grad_(False).to(device)

    def log_prob(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        z, log_det = self.encode(x, sigma)
        return log_det - 0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))

    def bits_per_dim(self, x: Tensor, sigma: float | Tensor = 0.0) -> Tensor:
        """Return the code length of 8-bit images in bits a dimension, ``8 - log p_σ(x) / (D log 2)``, (B,).

        ``-log₂ P`` for the bins of width 1/256 in which the dequantised images x, (B, C, H, W) in [0, 1], lie.
        """
        return math.log2(BINS) - self.log_prob(x, sigma) / (math.prod(self.shape) * math.log(2))

    def encode(self, x: Tensor, sigma: float | Tensor = 0.0) -> tuple[Tensor, Tensor]:
        """Map images to latents.

        Args:
            x: images, (B, C, H, W), in [0, 1] but for noise.
            sigma: noise level, one number or (B,).

        Returns:
            z (B, D), N(0, I) where x is distributed as p_σ, and log |det ∂z/∂x|, (B,).

        Raises:
            UsageError: images of another shape than the prior's; a noise level that it does not know.
        """
        if x.shape[1:] != self.shape:
            raise UsageError(f"expected images (B, *{self.shape}), got {tuple(x.shape)}", fix="bring them to this size")
        if isinstance(sigma, Tensor) and sigma.dim() and self.own_levels is not None:
            values = sigma.tolist()
            z, log_det = x.new_empty(len(x), math.prod(self.shape)), x.new_empty(len(x))
            for value in dict.fromkeys(values):
                rows = torch.tensor([i for i, other in enumerate(values) if other == value], device=x.device)
                own_z, own_log_det = self.encode(x[rows], value)
                z, log_det = z.index_copy(0, rows, own_z), log_det.index_copy(0, rows, own_log_det)
            return z, log_det
        network, level = self._network(sigma, x)
        c = self._scale(sigma, x)
        y = (x - self.mean) / c
        z, log_det = network(y, level)
        if not torch.isfinite(log_det).all() or not torch.isfinite(z).all():
            self._diverged(network, network.trouble(y, level), x, sigma)
        return z, log_det - math.prod(self.shape) * torch.log(c).reshape(-1)

    def decode(self, z: Tensor, sigma: float = 0.0) -> Tensor:
        """Map latents z (B, D) to images (B, C, H, W): the inverse of `encode` for one noise level."""
        if z.shape[1:] != (math.prod(self.shape),):
            raise UsageError(
                f"expected latents (B, {math.prod(self.shape)}), got {tuple(z.shape)}", fix="give what `encode` returns"
            )
        network, level = self._network(sigma, z)
        if where := network.singular():
            self._diverged(network, where, z, sigma)
        y = network.inverse(z, level)
        if not torch.isfinite(y).all():
            self._diverged(network, None, z, sigma)
        return self.mean + self._scale(sigma, y) * y

    def sample(self, count: int, sigma: float = 0.0, temperature: float = 1.0, seed: int = 0) -> Tensor:
        """Draw images from p_σ, (count, C, H, W); with a temperature T below 1, latents are N(0, T² I).

        Each image has a random stream of its own, which the seed fixes.
        """
        if not (takes(Count, count) and takes(NonNegative, temperature) and takes(Whole, seed)):
            raise UsageError(
                f"expected count >= 1, temperature >= 0 and seed >= 0, got {count}, {temperature} and {seed}",
                fix="for instance count=16, temperature=1.0 and seed=0",
            )
        noise = Noise((math.prod(self.shape),), seed, range(count), device=self.device)
        return self.decode(temperature * noise.normal(), sigma)

    def initialise(self, x: Tensor, sigma: float | Tensor) -> None:
        """Set the actnorms of a network by a batch of training data x + σ ε, (B, C, H, W), of its level."""
        if self.own_levels is not None:
            sigma = float(torch.as_tensor(sigma).max())
        network, level = self._network(sigma, x)
        network.initialise((x - self.mean) / self._scale(sigma, x), level)

    def _network(self, sigma: float | Tensor, x: Tensor) -> tuple[GlowNetwork, Tensor | None]:
        """Return the network for σ, and the number that tells it σ."""
        if self.own_levels is None:
            s = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1)
            if not bool(((s >= 0) & (s <= self.sigma_max * (1 + SAME))).all()):
                raise UsageError(
                    f"sigma {sigma} is not in the prior's range",
                    fix=f"choose noise levels from 0 to {self.sigma_max:g}",
                )
            return self.networks[0], _log(s) / _log(s.new_tensor(self.sigma_max))  # type: ignore[return-value]
        index = [i for i, level in enumerate(self.own_levels) if math.isclose(level, float(sigma), rel_tol=SAME)]
        if not index:
            names = ", ".join(f"{level:.4g}" for level in self.own_levels)
            raise UsageError(f"the prior has no network for sigma {float(sigma):.4g}", fix=f"choose one of {names}")
        if self.file is None:
            return self.networks[index[0]], None  # type: ignore[return-value]
        if index[0] != self.active:
            self._read(index[0])
        return self.networks[0], None  # type: ignore[return-value]

    def _read(self, index: int) -> None:
        """Read a level's weights from the file into the one network in memory."""
        prefix = f"networks.{index}."
        assert self.file is not None
        with safetensors.safe_open(still(self.file), "pt") as file:
            own = {key.removeprefix(prefix): file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118
        self.networks[0].load_state_dict(own)
        self.active = index

    def _scale(self, sigma: float | Tensor, x: Tensor) -> Tensor:
        """Return c, 0-dimensional or (B, 1, 1, 1)."""
        s = per_example(sigma, x)
        return torch.ones_like(s) if self.std is None else torch.sqrt(s**2 + self.std**2)

    def _diverged(self, network: GlowNetwork, where: str | None, x: Tensor, sigma: float | Tensor) -> None:
        level = f"{sigma:.4g}" if isinstance(sigma, float | int) else f"{sigma.min():.4g} to {sigma.max():.4g}"
        if not torch.isfinite(x).all():
            raise DivergenceError(
                f"the flow at sigma {level} was given values that are not finite", fix="take smaller steps"
            )
        raise DivergenceError(
            f"the flow at sigma {level} is not finite: {where or 'its result has no finite logarithm'}",
            fix="train it anew from an earlier checkpoint with a lower learning rate",
        )

    @staticmethod
    def _check(shape, levels, scales, depth, width, std, sigma_max) -> None:
        sizes = (*shape, scales, depth, width)
        if len(shape) != 3 or not all(isinstance(size, int) and size >= 1 for size in sizes) or scales > MOST:
            raise UsageError(
                f"expected a shape (C, H, W) and whole scales, depth and width of at least 1, got {shown([*shape])} "
                f"and {scales}, {depth}, {width}",
                fix=f"choose at most {MOST} scales, often 3 or 4",
            )
        if shape[1] % 2**scales or shape[2] % 2**scales:
            raise UsageError(
                f"a Glow of {scales} scales halves its images {scales} times, which {shape[1]}×{shape[2]} do not allow",
                fix=f"take fewer scales, or pad the images to multiples of {2**scales}",
            )
        falling = levels is None or all(a > b for a, b in zip([math.inf, *levels], [*levels, -1e-9], strict=True))
        if not falling or levels == [] or not (std is None or std > 0) or not sigma_max > 0:
            raise UsageError(
                "expected decreasing noise levels, none below 0, std > 0 and sigma_max > 0, got levels "
                f"{shown(levels)}, std {std}, sigma_max {sigma_max}",
                fix="for instance levels [1.0, 0.1, 0], std 0.3 and sigma_max 1",
            )


def _log(sigma: Tensor) -> Tensor:
    """Return the logarithm of a noise level that is soft at 0: 0 there, ``ln(σ / FLOOR)`` far above."""
    return 0.5 * torch.log1p((sigma / FLOOR) ** 2)
