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
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.nn import functional

from basis.assets.recipes import recipe as bundled_recipe
from basis.core.dataset import Dataset
from basis.core.errors import BasisError, DivergenceError, UsageError
from basis.core.prior import DensityPrior, Prior, per_example
from basis.io.checkpoint import PRIORS, header_of, load_prior
from basis.io.limits import check_request, memory
from basis.io.loading import Within, brief, untouched
from basis.io.saving import serialized
from basis.nn.magnitude import hold_weights, plain_parameters, renew_weights
from basis.train.batches import Batches, known, values, with_levels
from basis.train.folder import STARTED_FROM, RunFolder, request_of, run_folder, unfit
from basis.train.objectives import noise_levels, objective
from basis.train.recipe import Recipe

SLOWER = "lower the recipe's learning_rate"
STORED = {"fp32": None, "bf16": torch.bfloat16}
HELD_OUT = 2_000  # examples of the validation split that measure the held-out loss
PART = 100  # examples of these at a time
FAR = 0.5  # error of compiled gradients, in parts of them, that rounding does not explain
GOLDEN = 0.6180339887  # its multiples are spread evenly, in no relation to the order of the noise levels
MOST_TENSORS = 20_000  # of a network
VALUE = 20  # bytes that a weight takes in training: itself, its average, its gradient and two moments


@dataclass(frozen=True)
class Progress:
    """Where a training run stands: after ``step`` of ``steps``.

    ``loss`` is this step's training loss; ``held_out`` the averaged weights' loss on held-out examples, where it was
    just measured (at checkpoints), else None; ``rate`` examples a second since the run or its continuation began.
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
    recipe, batches = with_levels(recipe, data), Batches(data, recipe)
    with untouched():
        torch.default_generator.manual_seed(recipe.seed)
        prior = _prior(recipe, batches.shape, data.data_range)
    if folder.state is None and start is not None:
        _start(prior, start)
    elif folder.state is None and isinstance(prior, DensityPrior):
        x, sigma, eps, *_ = batches.draw(prior, 0)
        prior.initialise(x + per_example(sigma, x) * eps, sigma)
    average = copy.deepcopy(prior).eval().requires_grad_(False).to(accelerator.device)
    if recipe.unit_weights:
        hold_weights(prior)
    loss_of = objective(recipe, prior)
    held_out = HeldOut(data, recipe, average, accelerator.device)
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
        batch = batches.draw(prior, step, accelerator.process_index, accelerator.num_processes)
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
    """The loss of the averaged weights on held-out examples, with noise levels at even quantiles and fixed noise."""

    def __init__(self, data: Dataset, recipe: Recipe, average: Prior, device: torch.device) -> None:
        stored = data.images("validation")[0][:HELD_OUT]
        n = len(stored)
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(n, generator=generator)
        sigma = noise_levels((torch.arange(n) + 0.5) / n, recipe.noise, average)[order]
        x = values(data, stored, recipe, generator)
        batch = [x, sigma, torch.randn(x.shape, generator=generator)]
        batch += known((torch.arange(n) * GOLDEN) % 1, recipe)
        self.parts = [part.to(device).split(PART) for part in batch]
        self.loss = objective(recipe, average)

    @torch.no_grad()
    def __call__(self) -> float:
        return torch.cat([self.loss(*part) for part in zip(*self.parts, strict=True)]).mean().item()


def _prior(recipe: Recipe, shape: tuple[int, ...], data_range: tuple[float, float] | None = None) -> Prior:
    """Return the new prior, after checking that the recipe's arguments fit examples of this shape and range."""
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
    if data_range and prior.data_range not in (None, data_range):
        raise UsageError(
            f"the recipe's prior has values in {prior.data_range}, data set '{recipe.data}' in {data_range}",
            fix=f"set data_range to {[*data_range]}, if the prior has such an argument",
        )
    if recipe.shift >= min(shape[1:], default=1):
        raise UsageError(f"shift = {recipe.shift} is no less than examples of {shape}", fix="move them by a few places")
    return prior


def _start(prior: Prior, start: str | Path) -> None:
    """Copy the weights of another prior of the same kind and widths.

    What that one does not see counts for nothing at first; layers that it does not have begin with random weights.
    """
    weights, own = load_prior(start).state_dict(), prior.state_dict()
    for name in weights.keys() & own.keys():
        spatial = own[name].dim() - 2  # of a convolution
        if name.endswith(".weight") and spatial > 0 and (more := own[name].shape[1] - weights[name].shape[1]) > 0:
            weights[name] = functional.pad(weights[name], (*(0, 0) * spatial, 0, more))
    try:
        prior.load_state_dict({**own, **weights})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"the weights of '{start}' do not fit the recipe's prior ({reason})",
            fix="start from a prior that was trained with the same arguments",
        ) from error


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
