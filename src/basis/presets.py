"""Methods with settings by name, and by what they may cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from basis.core.errors import UsageError, unknown
from basis.core.mixing import Mixing, weights_of
from basis.core.modes import SAME
from basis.core.prior import Prior
from basis.core.separator import SEPARATORS, Separator
from basis.core.settings import Count, takes
from basis.separators._levels import unequal

PAPER, BEST = "paper", "quality"
"""What `separate` does where neither a method nor a budget is named, see `preferred`."""

CHAIN = {"bounded": True, "sigma_max": 1.0, "noise_correlation": 0.9}
CHAINS = {"sigma_max": 1.0, "sigma_min": 0.01, "refine_sigma": 0.6, "same": SAME}
"""What single chains and searches have in common; tuned on validation pairs of MNIST, see benchmarks/README.md."""

IN_WIDTHS = ("sigma_max", "sigma_min", "refine_sigma", "same")
"""Settings that presets and budgets give in units of the width of the data's range, which is 1 for images in [0, 1]."""

UNEQUAL = {"balanced": True, "reorder": True, "bounded_variance": True}
"""What is added where the weights differ and sources are projected, see `Sample` and `DDNM`."""

LAST_STATE = {"stability": math.inf, "denoise": False, "project": False}
"""The released code takes its step as it is and ends with the last state, where ours denoises it and projects it."""

FIXED: dict[str, tuple[str, dict]] = {
    "paper": ("basis", {}),
    "released-mnist": ("basis", {"ratio": 0.5**0.5, "delta": 3e-5, **LAST_STATE}),
    "released-cifar10": ("basis", {"delta": 3e-5, "sequential": True, **LAST_STATE}),
    "released-colour": ("basis", {"ratio": 3**-0.5, "delta": 2e-5, **LAST_STATE}),
}
"""Published loops, which stay as they are whatever the priors: levels, steps and start are the defaults of `BASIS`."""

PRESETS: dict[str, tuple[str, dict]] = {
    **FIXED,
    "fast": ("sample", {**CHAIN, "steps": 20, "sigma_min": 0.03, "rho": 1.0}),
    "quality": ("search", {**CHAINS, "candidates": 10, "batch": 2, "agree": 2, "steps": 90}),
}
SUMMARIES = {
    "paper": "Paper's text, our ending: annealed Langevin dynamics, γ = σ, δ = 2e-5; 1,001 evaluations a source.",
    "released-mnist": "Released code for MNIST: γ² = σ²/2, δ = 3e-5; ends with the last state, clamped.",
    "released-cifar10": "Released code for CIFAR-10: γ = σ, δ = 3e-5, one source after another; last state.",
    "released-colour": "Released code for colorization: γ² = σ²/3, δ = 2e-5; last state, clamped.",
    "fast": "Ours: denoise, move onto the mixture, noise again; 20 evaluations a source, in colour 96.",
    "quality": "Ours: chains of 96 evaluations a source until the best is found again, 192 to 960; in colour 204 to "
    "612, or one of 100 where there is one source.",
}
SHORT, LONG, RANKING = 30, 100, 6  # evaluations: of a chain with even noise levels, for two chains, of their ranking

COSTLY = (
    "steps", "repeats", "candidates", "batch", "agree", "rounds", "offspring", "refine_steps", "rank", "posterior",
    "iterations", "sampler", "corrections", "sequential", "denoise",
)  # fmt: skip
"""Settings that say how many evaluations a separation takes: with a budget they are not free."""

MOST = 1_000_000  # evaluations of a budget
COLOUR = 3  # channels
COLOUR_CHAIN = {"posterior": "mmps", "iterations": 2, "sigma_max": 5.0, "sigma_min": 0.01, "rho": 4.0}
COLOUR_STEP = 3  # evaluations of one step of it: one forward, two backward; of three, some were unstable
COLOUR_SEARCH = {**CHAINS, **COLOUR_CHAIN, "noise_correlation": 0.0}
COLOUR_PRESETS: dict[str, tuple[str, dict]] = {
    **FIXED,
    "fast": ("sample", {**COLOUR_CHAIN, "steps": 32}),
    "quality": ("search", {**COLOUR_SEARCH, "candidates": 6, "batch": 2, "agree": 2, "steps": 32}),
}
"""Of several natural images, which few steps of projection leave near their mean: the moments of the denoised estimates
tell to which of them each part of the mixture belongs. Tuned on validation pairs of CIFAR-10, see docs/results.md."""

ONE_COLOUR = {"bounded": True, "sigma_max": 10.0, "sigma_min": 0.03, "rho": 7.0, "eta": 1.0}
ONE_COLOUR_PRESETS: dict[str, tuple[str, dict]] = {
    **FIXED,
    "fast": ("sample", {**ONE_COLOUR, "steps": 20}),
    "quality": ("sample", {**ONE_COLOUR, "steps": 100}),
}
"""Of one image in colour, which colorization asks for. Broad colours are drawn at high noise, where fresh noise at each
level (η = ∞, of other presets) would forget them: it makes them pale."""


def within(budget: int, colours: int = 0) -> tuple[str, dict]:
    """Return the method and settings that make the most of a number of evaluations of the prior for each source.

    Below 100 a single chain, with evenly spaced noise levels up to 30; from 100 on as many chains of about 96 as fit,
    two at least, ranked at 6 evaluations each, all of which are drawn. (For priors without a density.) Of several
    images in colour a single chain below 204, then chains of about 102; a backward pass counts as one evaluation.

    Args:
        budget: number of evaluations.
        colours: number of sources that are images in colour, see `coloured`.

    Example:
        >>> within(300)[1]["candidates"], within(300)[1]["steps"]
        (3, 94)
    """
    if not takes(Count, budget) or budget > MOST:
        raise UsageError(
            f"expected a budget of at least 1 evaluation and at most {MOST:,}, got {budget}",
            fix="for instance budget=300",
        )
    if colours == 1:
        return "sample", {**ONE_COLOUR, "steps": budget}
    if colours:
        return _within_colour(budget)
    if budget < LONG:
        rho = 1.0 if budget <= SHORT else 2.0
        return "sample", {**CHAIN, "steps": budget, "sigma_min": 0.03, "rho": rho}
    candidates = max(2, round(budget / 96))
    steps = budget // candidates - RANKING
    return "search", {**CHAINS, "candidates": candidates, "batch": candidates, "steps": steps}


def _within_colour(budget: int) -> tuple[str, dict]:
    _, chain = COLOUR_PRESETS["fast"]
    each = chain["steps"] * COLOUR_STEP + RANKING
    if budget < 2 * each:
        if budget < COLOUR_STEP:
            raise UsageError(f"a step in colour takes {COLOUR_STEP} evaluations, got budget {budget}", fix="give more")
        return "sample", {**chain, "steps": budget // COLOUR_STEP}
    candidates = budget // each
    steps = (budget // candidates - RANKING) // COLOUR_STEP
    return "search", {**COLOUR_SEARCH, "candidates": candidates, "batch": candidates, "steps": steps}


def coloured(priors: Sequence[Prior]) -> int:
    """Return the number of sources where all are images in colour, else 0: presets and budgets depend on it."""
    return len(priors) if all(len(prior.shape) == 3 and prior.shape[0] == COLOUR for prior in priors) else 0


def preferred(priors: Sequence[Prior]) -> str:
    """Return the preset for priors of which the method is left open.

    "quality" where they take any noise level and say which values their data can have, which it makes use of; "paper"
    for others, such as an NCSN with its ten levels.

    Example:
        >>> from basis import load_prior
        >>> preferred([load_prior("mnist")]), preferred([load_prior("ncsn-mnist")])
        ('quality', 'paper')
    """
    return BEST if all(prior.levels is None and prior.data_range is not None for prior in priors) else PAPER


def resolve(
    method: str | Separator | None,
    settings: dict,
    budget: int | None = None,
    priors: Sequence[Prior] = (),
    mixing: Mixing | None = None,
) -> tuple[str | Separator, dict]:
    """Return the method and the settings that a preset's name, or a budget, stands for.

    Args:
        method: name of a preset or of a separator, or a separator; None for what is `preferred`, or with a budget.
        settings: settings of the method, which take precedence over those of the preset.
        budget: evaluations of the prior that may be spent for each source, everything included, see `within`.
        priors: what sources look like, on which presets and budgets depend: the preferred one; those of images in
            colour; and the noise levels, which are for data in [0, 1] and widen with the priors' data range. The
            presets "paper" and those of the released code stay as they are.
        mixing: how the sources were mixed: where their weights differ, presets and budgets that project take `UNEQUAL`
            too.

    Raises:
        UsageError: a budget below 1, or beside a method or settings that decide on the cost; a name that is neither a
            preset's nor a method's.

    Example:
        >>> resolve("fast", {"steps": 30})[1]["steps"]
        30
        >>> resolve(None, {}, budget=50)[0]
        'sample'
    """
    if budget is not None:
        if method is not None:
            raise UsageError("a budget chooses the method", fix="give a method or a budget, not both")
        if chosen := [name for name in COSTLY if name in settings]:
            raise UsageError(
                f"a budget chooses {', '.join(chosen)} itself", fix="give a budget, or a method and its settings"
            )
        method, preset = within(budget, coloured(priors))
        return method, _suited(method, preset, settings, priors, mixing)
    method = preferred(priors) if method is None else method
    if not isinstance(method, str):
        return method, settings
    if method in PRESETS:
        method, preset = (PRESETS, ONE_COLOUR_PRESETS, COLOUR_PRESETS)[min(coloured(priors), 2)][method]
        return method, _suited(method, preset, settings, priors, mixing)
    if method not in (names := SEPARATORS.names()):
        raise unknown("method", method, [*PRESETS, *names])
    return method, settings


def _suited(method: str, preset: dict, settings: dict, priors: Sequence[Prior], mixing: Mixing | None) -> dict:
    """Return a preset's settings in units of the data, with those that suit the weights, and those that were given."""
    width = max((prior.data_range[1] - prior.data_range[0] for prior in priors if prior.data_range), default=1.0)
    found = {name: value * width if name in IN_WIDTHS else value for name, value in preset.items()}
    if _projects(method, {**preset, **settings}, priors) and mixing is not None:
        shape = (len(priors), *priors[0].shape)
        found |= UNEQUAL if unequal(weights_of(mixing, shape, priors[0].device)) else {}
    return {**found, **settings}


def _projects(method: str, settings: dict, priors: Sequence[Prior]) -> bool:
    """Return whether several sources are projected at any noise level, with fresh noise alone, as `UNEQUAL` needs."""
    usual = {"posterior": "ddnm", "sampler": "ancestral", "eta": math.inf}
    free = all(prior.levels is None and prior.data_range is not None for prior in priors)
    same = all(settings.get(name, value) == value for name, value in usual.items())
    return method in ("sample", "search") and len(priors) > 1 and free and same
