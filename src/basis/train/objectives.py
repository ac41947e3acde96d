"""What a training run minimises: a loss for each example, given clean examples, noise levels and noise."""

from __future__ import annotations

import math
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from basis.assets.recipes import recipe as bundled_recipe
from basis.core.errors import UsageError
from basis.core.prior import DensityPrior, Prior, per_example
from basis.train.recipe import Noise, Recipe


class Denoising(nn.Module):
    """Denoising score matching with unit-variance target (Karras et al. 2022, table 1).

    ``λ(σ) ‖D(x + σ ε, σ) - x‖² / d`` with ``λ = (σ² + s²) / (σ s)²``, s the data's standard deviation. Where a
    weighted sum of the channels is known, noise and error are those of the rest, and so is s.

    Args:
        prior: what is trained.
        std: standard deviation s of the data.
        rest: standard deviation of what is not known, where something is; by default std.
        naming: weight of the cross-entropy of the class, in nats, where labels are given, for a prior with `classes`.
    """

    def __init__(self, prior: Prior, std: float, rest: float | None = None, naming: float = 0.0) -> None:
        super().__init__()
        self.prior, self.std, self.rest, self.naming = prior, std, rest or std, naming

    def forward(
        self, x: Tensor, sigma: Tensor, eps: Tensor, known: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Return the loss of each example, (B,), for x and eps (B, *S), sigma (B,) and labels (B,), if any.

        ``known`` (B, C) are the weights of the sum that is known of each example's C channels, all zero where nothing
        is.
        """
        noisy = x + per_example(sigma, x) * unseen(eps, known)
        if labels is None:
            return self._error(self.prior.denoise(noisy, sigma) - x, sigma, known)
        estimate, logits = cast("Classifying", self.prior).denoise_and_classify(noisy, sigma)
        named = functional.cross_entropy(logits, labels, reduction="none")
        return self._error(estimate - x, sigma, known) + self.naming * named

    def _error(self, error: Tensor, sigma: Tensor, known: Tensor | None) -> Tensor:
        std = self.std if known is None else torch.where((known != 0).any(1), self.rest, self.std)
        weight = (sigma**2 + std**2) / (sigma * std) ** 2
        return weight * unseen(error, known).square().flatten(1).mean(1)


def unseen(v: Tensor, weights: Tensor | None) -> Tensor:
    """Return what weighted sums of the channels do not see of v, ``v - w (w · v) / ‖w‖²``, (B, C, …); w (B, C)."""
    if weights is None:
        return v
    size = weights.square().sum(1, keepdim=True)
    unit = per_example(weights * torch.rsqrt(size.clamp_min(torch.finfo(size.dtype).tiny)), v)
    return v - unit * (unit * v).sum(1, keepdim=True)


class Classifying(Protocol):
    """A prior that tells classes apart, as `EDM` with ``classes``."""

    def denoise_and_classify(self, x: Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor]: ...


class ScoreMatching(nn.Module):
    """Denoising score matching as published with NCSN (Song & Ermon 2019, equations 5 and 6).

    ``½ σ^p ‖∇ log p_σ(x + σ ε) + ε / σ‖²``, summed over values; p is the anneal power, 2 as published.
    """

    def __init__(self, prior: Prior, power: float) -> None:
        super().__init__()
        self.prior, self.power = prior, power

    def forward(self, x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
        """Return the loss of each example, (B,), for x and eps (B, *S) and sigma (B,)."""
        s = per_example(sigma, x)
        error = self.prior.score(x + s * eps, sigma) + eps / s
        return sigma**self.power * error.square().flatten(1).sum(1) / 2


class Likelihood(nn.Module):
    """Negative log-likelihood of noisy examples in bits per dimension: ``-log₂ p_σ(x + σ ε) / d``."""

    def __init__(self, prior: DensityPrior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
        """Return the loss of each example, (B,), for x and eps (B, *S) and sigma (B,)."""
        noisy = x + per_example(sigma, x) * eps
        return -self.prior.log_prob(noisy, sigma) / (x[0].numel() * math.log(2))


def objective(recipe: Recipe, prior: Prior) -> nn.Module:
    """Return the objective that the recipe names; raises `UsageError` where the prior does not suit it."""
    if recipe.known and recipe.objective != "denoising":
        raise UsageError(f"objective '{recipe.objective}' has noise in all of an example", fix="leave out known")
    if recipe.known and not (recipe.arguments.get("known") and 0 < recipe.known <= 1):
        raise UsageError(
            f"known = {recipe.known} is to be a share, up to 1, of examples seen by a prior with an argument known",
            fix=f"see {bundled_recipe('cifar10-colour')}",
        )
    if recipe.labels and recipe.objective != "denoising":
        raise UsageError(f"objective '{recipe.objective}' has no use for labels", fix="leave out labels")
    if recipe.labels and not recipe.arguments.get("classes"):
        raise UsageError(
            f"labels = {recipe.labels} wants a prior that tells classes apart",
            fix="state classes, their number, among the recipe's arguments",
        )
    if recipe.objective == "score_matching":
        return ScoreMatching(prior, recipe.anneal_power)
    if recipe.objective == "likelihood":
        if not isinstance(prior, DensityPrior):
            raise UsageError(f"prior '{recipe.prior}' has no density", fix='train it with objective = "denoising"')
        return Likelihood(prior)
    if "std" not in recipe.arguments:
        raise UsageError(
            f"the recipe's arguments do not suit prior '{recipe.prior}' (objective 'denoising' needs std)",
            fix='state std, the standard deviation of the data, or choose objective = "score_matching"',
        )
    return Denoising(prior, float(recipe.arguments["std"]), recipe.arguments.get("colours"), recipe.labels)


def known_weights(quantile: Tensor, recipe: Recipe) -> Tensor:
    """Return the weights of the known sum of each example, (B, C): none up to quantile ``1 - known``, in [0, 1).

    The rest of the quantiles are shared out evenly among the sums of the prior's argument ``known``.
    """
    if not recipe.known:
        return torch.zeros(len(quantile), recipe.arguments["shape"][0])
    sums = recipe.arguments["known"]
    choices = torch.tensor([[0.0] * len(sums[0]), *sums])
    part = (quantile - (1 - recipe.known)) / recipe.known * len(sums)
    return choices[part.floor().long().add(1).clamp_min(0)]


def noise_levels(quantile: Tensor, noise: Noise, prior: Prior) -> Tensor:
    """Return the noise level at each quantile in [0, 1): of the prior's own levels if it has some, else log-normal.

    The log-normal law is cut off at ``noise.min`` and ``noise.max``.
    """
    if prior.levels is not None:
        levels = torch.tensor(prior.levels, dtype=quantile.dtype)
        return levels[(quantile * len(levels)).long()]
    ends = torch.tensor([noise.min, noise.max], dtype=quantile.dtype).log()  # of σ = 0, of the data alone, -inf
    low, high = torch.erf((ends - noise.mean) / (noise.std * math.sqrt(2)))
    normal = math.sqrt(2) * torch.erfinv(low + (high - low) * quantile)
    return (noise.mean + noise.std * normal).exp().clamp(noise.min, noise.max)
