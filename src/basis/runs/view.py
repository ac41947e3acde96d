"""A separation as files, pictures and HTML: what the command line writes, and what `Separation` shows of itself."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

from PIL import Image
from torch import Tensor

from basis.core.assessment import Assessment
from basis.core.errors import UsageError
from basis.core.separator import Separation
from basis.io.claim import claim
from basis.io.output import needed, replacing
from basis.runs.write import drawn, fill, plain, versions
from basis.signals._pictures import SEPARATED, Words
from basis.signals._view import View, view

KIND = "separation"
MOST = 16  # mixtures that a notebook shows


def save(result: Separation, folder: str | Path) -> Path:
    """Write a separation as `basis separate` does, but for the animation; see `Separation.save`."""
    facts = {"weights": getattr(result.mixing, "alphas", None), "mixing": type(result.mixing).__name__}
    facts |= {"samples": result.samples.shape[1], "versions": versions()}
    with claim(folder):
        needed(folder, KIND, {})
        write(Path(folder), result, [[] for _ in result.mixture], {}, plain(facts))
    return Path(folder)


def picture(result: Separation, i: int = 0) -> Image.Image:
    """Return a mixture with its sources, the mixture made of them, the error, and what the result is worth."""
    _check_index(result, i)
    spread, notes = shown(result, i)
    samples, mixture = result.samples[i], result.mixture[i]
    notes = [f"residual {result.residual[i].item():.1e} per value", *notes]
    return drawn(_look(result, i), mixture, samples, result.mixing(samples), SEPARATED, spread, notes)


def pictures(result: Separation, i: int = 0) -> list[Image.Image]:
    """Return the chosen sources of a mixture as K pictures of 8 bits, "L" or "RGB"."""
    _check_index(result, i)
    found = _look(result, i).source(result.sources[i])
    arrays = (found.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return [Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0)) for array in arrays]


def png(result: Separation) -> bytes:
    """Return the picture of the first mixture as a PNG."""
    return _png(picture(result))


def html(result: Separation) -> str:
    """Return the pictures of the mixtures, the first 16 of them, with the figures."""
    count = len(result.mixture)
    shown_ones = range(min(count, MOST))
    images = [base64.b64encode(_png(picture(result, i))).decode() for i in shown_ones]
    rows = [
        f'<div><img alt="mixture {i} of {count}" src="data:image/png;base64,{x}"></div>' for i, x in enumerate(images)
    ]
    more = f"<p>… and {count - MOST} more mixtures</p>" if count > MOST else ""
    return f"<div><pre>{escape(repr(result))}</pre>{''.join(rows)}{more}</div>"


def _look(result: Separation, i: int) -> View:
    return view(result.mixture[i], result.mixing, result.samples.shape[2:], result.data_range)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _check_index(result: Separation, i: int) -> None:
    if not -len(result.mixture) <= i < len(result.mixture):
        raise UsageError(f"there is no mixture {i}, the last is {len(result.mixture) - 1}", fix="give another number")


def write(
    folder: Path,
    result: Separation,
    frames: list[list[Image.Image]],
    request: dict,
    facts: dict,
    words: Words = SEPARATED,
) -> None:
    """Write a file's separations: into the folder, or a folder each inside it where the file held several."""
    with replacing(folder, KIND, request) as new:
        for i, mixture in enumerate(result.mixture):
            target = new if len(result.mixture) == 1 else new / f"{i:05d}"
            own = {**facts, "index": i, "residual": result.residual[i].item(), **facts_of(result, i)}
            if result.scores is not None:
                own["scores"] = result.scores[i].tolist()
            if result.modes is not None:
                own["mode_rank_weights"] = result.modes[i].rank_weights.tolist()
            if result.evaluations is not None:
                own["evaluations"] = int(result.evaluations[i])
            spread, notes = shown(result, i)
            samples, choice = result.samples[i], int(result.choice[i])
            fill(
                target, mixture, samples, choice, result.mixing, frames[i], own, words, spread, notes, result.data_range
            )


def facts_of(result: Separation, i: int) -> dict:
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
    return spread, [*chosen, *likely_words(found, i), *agree_words(found, i), *strange]


def likely_words(found: Assessment, i: int) -> list[str]:
    """Return how likely the sources of a mixture are to the prior, in words; nothing where it is not known."""
    if found.plausibility is None:
        return []
    shares = [f"{share:.0%}" for share in found.plausibility[i].tolist()]
    return [f"{'source' if len(shares) == 1 else 'sources'} likelier than {', '.join(shares)} of the prior's own"]


def agree_words(found: Assessment, i: int) -> list[str]:
    """Return how many candidates for a mixture agree, in words; nothing where there is one."""
    count = int(found.candidates[i])
    return [f"{round(found.agreement[i].item() * count)} of {count} candidates agree"] if count > 1 else []
