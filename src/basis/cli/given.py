"""From what is given on the command line to priors, weights, methods and settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from basis.cli.progress import progress
from basis.cli.voice import detail, remark
from basis.core.checks import device_of
from basis.core.errors import UsageError
from basis.core.mixing import Mixing
from basis.core.prior import Prior
from basis.core.sampler import State
from basis.core.separator import SEPARATORS, Run, Separator
from basis.core.settings import from_text
from basis.io.checkpoint import foreign, load_prior, locate, read_card, weights_sha256
from basis.io.learned import load_separator
from basis.io.presets import names as preset_names
from basis.io.presets import resolve
from basis.mixings.weighted_sum import WeightedSum
from basis.priors.wrappers.accelerated import Accelerated
from basis.priors.wrappers.windowed import Windowed

MOST = 1_000  # sources
OWN = ("samples", "seed", "batch_size", "method", "noise")  # options, not settings


def mixing(sources: int | None, weights: str | None) -> WeightedSum:
    """Return the weighted sum that --sources and --weights describe."""
    if weights is None:
        if sources is not None and sources < 1:
            raise UsageError(f"expected at least one source, got --sources {sources}", fix="for instance --sources 2")
        if sources is not None and sources > MOST:
            raise UsageError(f"expected at most {MOST:,} sources, got --sources {sources}", fix="take fewer")
        return WeightedSum([1.0] * (sources or 2))
    try:
        alphas = [float(weight) for weight in weights.split(",")]
    except ValueError as error:
        raise UsageError(
            f"expected numbers a,b,… got --weights {weights}", fix="for instance --weights 0.3,0.7"
        ) from error
    if sources is not None and sources != len(alphas):
        raise UsageError(f"got {len(alphas)} weights for {sources} sources", fix="give one weight a source")
    return WeightedSum(alphas)


def priors(names: str, sources: int, device: str, precision: str = "no", compile: bool = False) -> list[Prior]:
    """Return one prior a source, equal names loaded once."""
    parts = names.split(",")
    if len(parts) not in (1, sources):
        raise UsageError(
            f"got {len(parts)} priors for {sources} sources", fix="give one prior for all, or one a source"
        )
    device_of(device)
    loaded = {name: load_prior(name, device) for name in dict.fromkeys(parts)}
    if precision != "no" or compile:
        loaded = {name: Accelerated(prior, precision, compile) for name, prior in loaded.items()}
    for name, prior in loaded.items():
        shape, size = "×".join(map(str, prior.shape)), sum(value.numel() for value in prior.parameters())
        detail(f"prior {name}: {type(prior).__name__} over {shape}, {size:,} parameters, on {prior.device}")
    return [loaded[name] for name in (parts if len(parts) > 1 else parts * sources)]


def windowed(priors: list[Prior], mixture: Tensor, path: Path) -> tuple[list[Prior], dict[str, int]]:
    """Return the priors for a mixture (B, *S) of a file, by windows where it is larger than they are.

    Also returns what `result.json` says of it: how many windows there are, if any. Says so on standard error.
    """
    size, window = tuple(mixture.shape[2:]), priors[0].shape[1:]
    if size == window:
        return priors, {}
    wrapped = {id(prior): Windowed(prior, size) for prior in priors}
    count = len(wrapped[id(priors[0])].corners)
    whole, part = ("×".join(map(str, sides[::-1])) for sides in (size, window))
    remark(f"{path}: {whole} {'pixels' if len(size) == 2 else 'values'} by {count} windows of {part}")
    return [wrapped[id(prior)] for prior in priors], {"windows": count}


def method(
    name: str | None,
    budget: int | None,
    device: str,
    settings: dict,
    priors: Sequence[Prior],
    mixing: Mixing | None = None,
) -> tuple[str | Separator, dict]:
    """Return the method that a name or a budget stands for, or that suits the priors, with its settings.

    For a folder it is the separator that the folder holds, which has taken them.
    """
    if name is None or not stored(name):
        chosen, rest = resolve(name, settings, budget, priors, mixing)
        detail(f"method {chosen}, {', '.join(f'{key}={value}' for key, value in rest.items()) or 'its own settings'}")
        return chosen, rest
    if budget is not None:
        raise UsageError("a budget chooses the method", fix="give --method or --budget, not both")
    return load_separator(name, device, **settings), {}


def stored(method: str) -> bool:
    """Whether a method is a folder or file; a preset or method of that name comes first."""
    return method not in (*preset_names(), *SEPARATORS.names()) and Path(method).exists()


def method_hash(name: str | None) -> str | None:
    """Return the sha256 of the weights of a method that is a folder or file, None for one by name."""
    return weights_sha256(name) if name is not None and stored(name) else None


def hashes(names: str) -> dict[str, str | None]:
    """Return the sha256 on each prior's card, None for a prior in a foreign format."""
    return {name: None if foreign(name) else read_card(locate(name)).get("sha256") for name in names.split(",")}


def settings(steps: int | None, levels: int | None, others: list[str] | None) -> dict:
    """Return the method's settings that were given, as `basis.core.settings.from_text` reads them."""
    given: dict[str, object] = {
        name: value for name, value in (("steps", steps), ("levels", levels)) if value is not None
    }
    for entry in others or []:
        name, equals, value = entry.partition("=")
        if not equals:
            raise UsageError(f"expected NAME=VALUE, got --set {entry}", fix="for instance --set temperature=0")
        if name in OWN:
            raise UsageError(f"{name} is not a setting of the method", fix=f"give --{name.replace('_', '-')} {value}")
        given[name] = from_text(value)
    return given


def watch(run: Run, title: str, batches: int = 1) -> Iterator[State]:
    """Yield a run's states behind a progress bar with the time left."""
    with progress(title) as bar:
        for state in run:
            bar.total = state.steps * batches
            bar.update()
            bar.set_postfix_str(f"sigma {state.sigma:.3f}", refresh=False)
            yield state
