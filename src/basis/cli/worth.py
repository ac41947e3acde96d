"""x"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from basis.api import UNLIKELY
from basis.cli.voice import remark
from basis.core.errors import UncertainWarning, UnlikelyMixtureWarning
from basis.core.prior import Prior
from basis.core.separator import Separation
from basis.runs.view import agree_words, likely_words

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
        likely = likely_words(found, 0)
    if any(prior.calibration is None and prior.condition is None for prior in priors):
        likely = ["the prior is not calibrated (see `basis calibrate`)"]
    agree = agree_words(found, 0)
    if several and (found.candidates > 1).any():
        agree = [f"{found.agreement.mean():.0%} of candidates agree on average"]
    return ", ".join([*likely, *agree, residual])
