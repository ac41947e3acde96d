"""What the command line says of a result's worth: on the screen, in `result.json` and in the panel."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from basis.api import UNLIKELY
from basis.cli.voice import remark
from basis.core.assessment import Assessment
from basis.core.errors import UncertainWarning, UnlikelyMixtureWarning
from basis.core.prior import Prior
from basis.core.separator import Separation

SEPARATE = "try --invert (dark on light), --resize, other --weights or --sources, another --prior, or a larger --budget"
COUNT = "try --invert (dark on light), or another --prior; the numbers below say nothing"
COLORIZE = "try --invert (a negative), or another --prior"
NAMED = 8  # mixtures in one warning


@contextmanager
def quiet() -> Iterator[None]:
    """Leave it to the command to say that a mixture is unlikely, or its count uncertain."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnlikelyMixtureWarning)
        warnings.simplefilter("ignore", UncertainWarning)
        yield


def complain_of(path: Path, unlikely: Sequence[int], count: int, advice: str) -> None:
    """Warn of those of the mixtures in a file, by their numbers, that no sources of the prior could have made."""
    if unlikely:
        more = ", …" if len(unlikely) > NAMED else ""
        which = f", mixture {', '.join(map(str, unlikely[:NAMED]))}{more} of {count}" if count > 1 else ""
        remark(f"warning: {path}{which}: {UNLIKELY}. To fix: {advice}")


def words(result: Separation, priors: Sequence[Prior]) -> str:
    """Return what a file's result is worth, in one line; of several mixtures on average."""
    found, residual = result.assessment, f"residual {result.residual.mean().item():.1e} per pixel"
    if found is None:
        return residual
    several = len(result.mixture) > 1
    if found.plausibility is not None and several:
        likely = [f"sources likelier than {found.plausibility.mean():.0%} of the prior's own on average"]
    else:
        likely = _likely(found, 0)
    if any(prior.calibration is None and prior.condition is None for prior in priors):
        likely = ["the prior is not calibrated (see `basis calibrate`)"]
    agree = _agree(found, 0)
    if several and (found.candidates > 1).any():
        agree = [f"{found.agreement.mean():.0%} of candidates agree on average"]
    return ", ".join([*likely, *agree, residual])


def facts(result: Separation, i: int) -> dict:
    """Return what `result.json` holds of the worth of a mixture's result; what is not known is left out."""
    found, known = result.assessment, dict[str, object]()
    if found is not None and found.plausibility is not None:
        known["plausibility"] = found.plausibility[i].tolist()
        known["unlikely"] = None if found.unlikely is None else bool(found.unlikely[i])
        known["plausibility_evaluations"] = found.evaluations
    if found is not None and found.candidates[i] > 1:
        known["candidates"], known["agreement"] = int(found.candidates[i]), found.agreement[i].item()
    return known


def shown(result: Separation, i: int) -> tuple[Tensor | None, list[str]]:
    """Return the spread of a mixture's candidates, where there are several, and the lines under its panel."""
    found = result.assessment
    if found is None:
        return None, []
    spread = found.spread[i] if found.candidates[i] > 1 else None
    samples = len(result.samples[i])
    chosen = [f"row {int(result.choice[i]) + 1} of {samples} is the answer"] if samples > 1 else []
    strange = ["warning: unlike what this prior knows"] if i in found.doubtful else []
    return spread, [*chosen, *_likely(found, i), *_agree(found, i), *strange]


def _likely(found: Assessment, i: int) -> list[str]:
    if found.plausibility is None:
        return []
    shares = [f"{share:.0%}" for share in found.plausibility[i].tolist()]
    return [f"{'source' if len(shares) == 1 else 'sources'} likelier than {', '.join(shares)} of the prior's own"]


def _agree(found: Assessment, i: int) -> list[str]:
    count = int(found.candidates[i])
    return [f"{round(found.agreement[i].item() * count)} of {count} candidates agree"] if count > 1 else []
