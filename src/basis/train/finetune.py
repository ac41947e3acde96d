"""One network for each noise level, each fine-tuned from the next smaller one (section 3.5 of the paper)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from basis.assets.recipes import recipe as bundled_recipe
from basis.core.errors import UsageError
from basis.core.schedule import geometric
from basis.io.checkpoint import PRIORS, header_of, load_prior, locate, read_card
from basis.io.claim import claim
from basis.io.loading import untouched
from basis.io.output import needed, replacing
from basis.io.saving import put, serialized
from basis.train.folder import FINETUNING, TRAINING, marked, request_of
from basis.train.recipe import Noise, Recipe

STAGES = "levels"  # folder of the single levels, in the folder of the whole


@dataclass(frozen=True)
class Stage:
    """Training at one noise level: what `basis.train.loop.train` is called with."""

    sigma: float
    recipe: Recipe
    out: Path
    start: Path | None


def stages(recipe: Recipe, out: str | Path) -> Iterator[Stage]:
    """Yield the data themselves (σ = 0) and then the noise levels from the smallest to the largest.

    Raises:
        UsageError: the recipe has no table [finetune].
    """
    plan = recipe.finetune
    if plan is None:
        raise UsageError(
            "the recipe says nothing of fine-tuning", fix=f"add a table [finetune]: see {bundled_recipe('glow-mnist')}"
        )
    start = None
    for sigma in [0.0, *geometric(plan.max, plan.min, plan.count).flip(0).tolist()]:
        own = dataclasses.replace(
            recipe,
            arguments={**recipe.arguments, "levels": [sigma]},
            noise=Noise(min=sigma, max=sigma),
            finetune=None,
        )
        if start is not None:
            own = dataclasses.replace(own, steps=plan.steps, learning_rate=plan.learning_rate)
        folder = Path(out) / STAGES / f"{sigma:.4f}"
        yield Stage(sigma, own, folder, start)
        start = folder


@contextmanager
def finetuning(recipe: Recipe, out: str | Path, *, overwrite: bool = False, resume: bool = True) -> Iterator[None]:
    """Claim the folder of the whole, after checking it and those of all levels.

    Args:
        recipe, out: as in `stages`.
        overwrite, resume: see `basis.train.folder.run_folder`, also for errors.
    """
    out = Path(out)
    parts = list(stages(recipe, out))
    with marked(out, FINETUNING, request_of(recipe), overwrite=overwrite, resume=resume):
        for stage in parts:
            with claim(stage.out):
                needed(stage.out, TRAINING, request_of(stage.recipe), overwrite=overwrite, resume=resume)
        yield


def assemble(recipe: Recipe, out: str | Path) -> Path:
    """Write the prior of all levels from those of the single ones; its card has each one's held-out loss.

    The folder is claimed, see `finetuning`.
    """
    out = Path(out)
    parts = sorted(stages(recipe, out), key=lambda stage: -stage.sigma)
    arguments = {**recipe.arguments, "levels": [stage.sigma for stage in parts]}
    with untouched():
        whole = PRIORS.make(recipe.prior, arguments)
    weights = {}
    for i, stage in enumerate(parts):
        for key, value in load_prior(stage.out).state_dict().items():
            weights[key.replace("networks.0.", f"networks.{i}.", 1)] = value
    whole.load_state_dict(weights)
    cards = {f"{stage.sigma:.4g}": read_card(locate(stage.out)) for stage in parts}
    card = {
        "recipe": dataclasses.asdict(recipe),
        "steps": sum(card["steps"] for card in cards.values()),
        "images": sum(card["images"] for card in cards.values()),
        "hours": round(sum(card["hours"] for card in cards.values()), 2),
        "held_out_loss": {sigma: card["held_out_loss"] for sigma, card in cards.items()},
    }
    with replacing(out, FINETUNING, request_of(recipe)) as new:
        put(serialized(whole, header_of(whole, arguments)), new, card)
    return out
