"""The training loop: readable from top to bottom, resumable at every checkpoint."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import accelerate
import numpy as np
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.nn import functional

from basis.assets.recipes import recipe as bundled_recipe
from basis.core.dataset import Dataset
from basis.core.errors import BasisError, DivergenceError, UsageError
from basis.core.prior import DensityPrior, Prior
from basis.core.schedule import geometric, overlapping
from basis.io.checkpoint import PRIORS, header_of, load_prior
from basis.io.limits import check_request, memory
from basis.io.loading import Within, brief, untouched
from basis.io.saving import serialized
from basis.nn.magnitude import hold_weights, plain_parameters, renew_weights
from basis.train.folder import STARTED_FROM, RunFolder, request_of, run_folder, unfit
from basis.train.objectives import known_weights, noise_levels, objective
from basis.train.recipe import Recipe

SLOWER = "lower the recipe's learning_rate"
STORED = {"fp32": None, "bf16": torch.bfloat16}
HELD_OUT = 2_000  # images of the validation split that measure the held-out loss
PART = 100  # images of these at a time
FAR = 0.5  # error of compiled gradients, in parts of them, that rounding does not explain
GOLDEN = 0.6180339887  # its multiples are spread evenly, in no relation to the order of the noise levels
MOST_TENSORS = 20_000  # of a network
VALUE = 20  # bytes that a weight takes in training: itself, its average, its gradient and two moments
PAIRED = 10_000  # training images between which the largest distance is found


@dataclass(frozen=True)
class Progress:
    """Where a training run stands: after ``step`` of ``steps``.

    ``loss`` is this step's training loss; ``held_out`` the averaged weights' loss on held-out images, where it was just
    measured (at checkpoints), else None; ``rate`` images a second since the run or its continuation began.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    rate: float
    held_out: float | None = None


def train(
    recipe: Recipe,
    data: Dataset,
    out: str | Path,
    start: str | Path | None = None,
    *,
    overwrite: bool = False,
    resume: bool = True,
) -> Iterator[Progress]:
    """Train a prior, yielding after every step; the result is a prior folder at ``out``, written at each checkpoint.

    A run that finds ``out/checkpoint.pt`` of the same recipe goes on from there, with the same data and noise as an
    unbroken run. A new one begins with the weights of the prior ``start`` (bundled name, folder or file), if given,
    else with random ones. What is there is kept until the first checkpoint of a run that overwrites it.

    Args:
        recipe, data, out, start: see above.
        overwrite, resume: see `basis.train.folder.run_folder`, also for errors.
    """
    AcceleratorState._reset_state()  # of an earlier run in this process, whose precision it would keep
    accelerator = accelerate.Accelerator(mixed_precision=recipe.precision)
    request = request_of(recipe, start)
    with run_folder(Path(out), request, accelerator, overwrite=overwrite, resume=resume) as folder:
        yield from _train(recipe, data, folder, start, accelerator)


def _train(
    recipe: Recipe, data: Dataset, folder: RunFolder, start: str | Path | None, accelerator: accelerate.Accelerator
) -> Iterator[Progress]:
    images, labels = data.images("train")
    recipe = _with_levels(recipe, images)
    with untouched():
        torch.default_generator.manual_seed(recipe.seed)
        prior = _prior(recipe, tuple(images.shape[1:]))
    if folder.state is None and start is not None:
        _start(prior, start)
    elif folder.state is None and isinstance(prior, DensityPrior):
        x, sigma, eps, *_ = _batch(images, labels, recipe, prior, 0, 0, 1)
        prior.initialise(x + sigma[:, None, None, None] * eps, sigma)
    average = copy.deepcopy(prior).eval().requires_grad_(False).to(accelerator.device)
    if recipe.unit_weights:
        hold_weights(prior)
    loss_of = objective(recipe, prior)
    held_out = HeldOut(data.images("validation")[0], recipe, average, accelerator.device)
    step, seconds = 0, 0.0
    adam = torch.optim.Adam(prior.parameters(), betas=(0.9, recipe.beta2))
    model, optimizer = accelerator.prepare(torch.compile(loss_of) if recipe.compile else loss_of, adam)
    if folder.state is not None:
        step, seconds = _resume(folder, recipe, prior, average, optimizer)
    if folder.state is not None and folder.incomplete:
        folder.complete(_content(average, recipe), folder.state["card"])
    began, first = time.monotonic(), step
    while step < recipe.steps:
        rate = _learning_rate(recipe, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = _batch(images, labels, recipe, prior, step, accelerator.process_index, accelerator.num_processes)
        loss = model(*(part.to(accelerator.device) for part in batch)).mean()
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(prior.parameters(), recipe.clip)
        optimizer.step()
        if recipe.unit_weights:
            renew_weights(prior)
        step += 1
        _average(average, prior, step, recipe)
        if not math.isfinite(loss.item()):
            raise DivergenceError(f"the loss is {loss.item()} at step {step}", fix=SLOWER)
        measured = None
        if (step % recipe.every == 0 or step == recipe.steps) and accelerator.is_main_process:
            if recipe.compile and accelerator.num_processes == 1:
                _check_compiled(model, loss_of, prior, [part.to(accelerator.device) for part in batch], accelerator)
            measured = held_out()
            if not math.isfinite(measured):
                raise DivergenceError(f"the held-out loss is {measured} at step {step}", fix=SLOWER)
            total = seconds + time.monotonic() - began
            card = _card(recipe, folder.request.get(STARTED_FROM), step, total, measured)
            folder.save(_state(recipe, prior, average, optimizer, step, total), _content(average, recipe), card)
        speed = (step - first) * recipe.batch / (time.monotonic() - began)
        yield Progress(step, recipe.steps, loss.item(), rate, speed, measured)


def _check_compiled(model: nn.Module, plain: nn.Module, prior: Prior, batch: list[Tensor], accelerator) -> None:
    """Raise `UsageError` where the compiled loss has not the gradients of the plain one: compilers have their bugs."""
    found = []
    for loss_of in (model, plain):
        prior.zero_grad()
        with accelerator.autocast():
            accelerator.backward(loss_of(*batch).mean())
        found.append([torch.zeros_like(p) if p.grad is None else p.grad for p in prior.parameters()])
    prior.zero_grad()
    errors = [(ours - right).norm() / right.norm() for ours, right in zip(*found, strict=True) if right.any()]
    if errors and (error := torch.stack(errors).median()) > FAR:  # of a few, rounding may be the most there is
        raise UsageError(
            f"the compiled network has wrong gradients here: half of them differ by {error:.0%} or more",
            fix="say compile = false in the recipe, and train into another --out folder",
        )


class HeldOut:
    """The loss of the averaged weights on held-out images, with noise levels at even quantiles and fixed noise."""

    def __init__(self, images: Tensor, recipe: Recipe, average: Prior, device: torch.device) -> None:
        n = min(HELD_OUT, len(images))
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(n, generator=generator)
        sigma = noise_levels((torch.arange(n) + 0.5) / n, recipe.noise, average)[order]
        x = _pixels(images[:n], recipe, generator)
        batch = [x, sigma, torch.randn(x.shape, generator=generator)]
        batch += _known((torch.arange(n) * GOLDEN) % 1, recipe)
        self.parts = [part.to(device).split(PART) for part in batch]
        self.loss = objective(recipe, average)

    @torch.no_grad()
    def __call__(self) -> float:
        return torch.cat([self.loss(*part) for part in zip(*self.parts, strict=True)]).mean().item()


def _with_levels(recipe: Recipe, images: Tensor) -> Recipe:
    """Return the recipe with the noise levels that it asks to be found from the data (NCSNv2, techniques 1 and 2)."""
    if recipe.levels is None:
        return recipe
    some = images[:PAIRED].flatten(1).float() / 255
    highest = torch.cdist(some, some).max().item() if recipe.levels.max == "data" else float(recipe.levels.max)
    if recipe.levels.count == "overlap":
        sigmas = overlapping(highest, recipe.levels.min, some.shape[1])
    else:
        sigmas = geometric(highest, recipe.levels.min, int(recipe.levels.count))
    return dataclasses.replace(recipe, arguments={**recipe.arguments, "sigmas": sigmas.tolist()})


def _prior(recipe: Recipe, shape: tuple[int, ...]) -> Prior:
    """Return the new prior, after checking that the recipe's arguments fit."""
    check_request(f"batch = {recipe.batch}", VALUE * recipe.batch * math.prod(shape), fix="make it smaller")
    large = UsageError(
        "the recipe's network is larger than this machine can train", fix="choose fewer blocks, or smaller widths"
    )
    try:
        with Within(MOST_TENSORS, memory() / VALUE, large):
            prior = PRIORS.make(recipe.prior, recipe.arguments)
    except BasisError:
        raise
    except Exception as error:  # whatever a layer makes of a wrong argument
        raise UsageError(
            f"the recipe's arguments do not suit prior '{recipe.prior}' ({brief(error)})",
            fix=f"see {bundled_recipe('mnist')}",
        ) from error
    if prior.shape != shape:
        raise UsageError(
            f"the recipe's prior has shape {prior.shape}, data set '{recipe.data}' {shape}",
            fix=f"set shape to {[*shape]}",
        )
    if recipe.shift >= min(shape[-2:]):
        raise UsageError(f"shift = {recipe.shift} is no less than images of {shape}", fix="move them by a few pixels")
    return prior


def _start(prior: Prior, start: str | Path) -> None:
    """Copy the weights of another prior of the same kind and widths.

    What that one does not see counts for nothing at first; layers that it does not have begin with random weights.
    """
    weights, own = load_prior(start).state_dict(), prior.state_dict()
    for name in weights.keys() & own.keys():
        if own[name].dim() == 4 and (more := own[name].shape[1] - weights[name].shape[1]) > 0:
            weights[name] = functional.pad(weights[name], (0, 0, 0, 0, 0, more))
    try:
        prior.load_state_dict({**own, **weights})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"the weights of '{start}' do not fit the recipe's prior ({reason})",
            fix="start from a prior that was trained with the same arguments",
        ) from error


def _batch(
    images: Tensor, labels: Tensor, recipe: Recipe, prior: Prior, step: int, process: int, processes: int
) -> list[Tensor]:
    """Return images, noise levels and noise of one process at one step: a function of seed, step and process alone."""
    position = np.arange(step * recipe.batch, (step + 1) * recipe.batch)[process::processes]
    epochs = {epoch: np.random.default_rng((recipe.seed, epoch)) for epoch in set(position // len(images))}
    orders = {epoch: rng.permutation(len(images)) for epoch, rng in epochs.items()}
    index = [orders[p // len(images)][p % len(images)] for p in position]
    generator = torch.Generator().manual_seed(
        int(np.random.SeedSequence((recipe.seed, step, process)).generate_state(1)[0])
    )
    sigma = noise_levels(torch.rand(len(index), generator=generator), recipe.noise, prior)
    x = _pixels(images[index], recipe, generator)
    if recipe.flip:
        x = torch.where(torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5, x, x.flip(3))
    if recipe.shift:
        x = _moved(x, recipe.shift, generator)
    eps = torch.randn(x.shape, generator=generator)
    known = _known(torch.rand(len(x), generator=generator), recipe)
    return [x, sigma, eps, *known, *([labels[index]] if recipe.labels else [])]


def _known(quantile: Tensor, recipe: Recipe) -> list[Tensor]:
    """Return what is known of each image, where the recipe says that something is, or labels come after it."""
    return [known_weights(quantile, recipe)] if recipe.known or recipe.labels else []


def _moved(x: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Return images moved by up to shift pixels each way, with their borders mirrored."""
    wide = functional.pad(x, (shift,) * 4, mode="reflect")
    top, left = torch.randint(0, 2 * shift + 1, (2, len(x), 1, 1, 1), generator=generator)
    rows, columns = top + torch.arange(x.shape[2])[:, None], left + torch.arange(x.shape[3])
    return wide[torch.arange(len(x))[:, None, None, None], torch.arange(x.shape[1])[:, None, None], rows, columns]


def _pixels(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Return 8-bit images in [0, 1], spread over their quantisation steps if the recipe asks for it."""
    if recipe.dequantize:
        return (images + torch.rand(images.shape, generator=generator)) / 256
    return images.float() / 255


def _learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, constant, linear decay to zero."""
    left = (recipe.steps - step) / max(recipe.decay * recipe.steps, 1)
    return recipe.learning_rate * min((step + 1) / recipe.warmup, 1.0, left)


@torch.no_grad()
def _average(average: Prior, prior: Prior, step: int, recipe: Recipe) -> None:
    """Move the averaged weights towards the current ones; the half-life grows with the run at first."""
    half_life = min(recipe.ema, 0.1 * step * recipe.batch)
    weight = 1 - 0.5 ** (recipe.batch / half_life) if half_life else 1.0
    current = plain_parameters(prior)
    for name, value in average.named_parameters():
        value.lerp_(current[name], weight)


def _card(recipe: Recipe, started_from: str | None, step: int, seconds: float, held_out: float) -> dict:
    presets = {} if recipe.presets is None else {"presets": recipe.presets}
    return {
        **presets,
        "recipe": dataclasses.asdict(recipe),
        "started_from": started_from,
        "steps": step,
        "images": step * recipe.batch,
        "hours": round(seconds / 3600, 2),
        "held_out_loss": round(held_out, 5),
        "torch": str(torch.__version__),  # a plain string, which checkpoints may hold
    }


def _content(average: Prior, recipe: Recipe) -> bytes:
    return serialized(average, header_of(average, recipe.arguments), STORED[recipe.stored])


def _state(recipe: Recipe, prior: Prior, average: Prior, optimizer, step: int, seconds: float) -> dict:
    modules = {"prior": prior.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
    return {**modules, "recipe": dataclasses.asdict(recipe), "step": step, "seconds": seconds}


def _resume(folder: RunFolder, recipe: Recipe, prior: Prior, average: Prior, optimizer) -> tuple[int, float]:
    """Load a checkpoint of the same recipe; return its step, and the seconds that were spent until it."""
    state = folder.state or {}
    try:
        if recipe.arguments != state["recipe"]["arguments"]:  # with the noise levels that were found from the data
            raise ValueError("arguments changed since")
        prior.load_state_dict(state["prior"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        return state["step"], state["seconds"]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise unfit(folder.path, error) from error
