"""`basis reproduce`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from basis.cli import options as cli
from basis.cli.progress import progress
from basis.cli.voice import Stopped
from basis.core.errors import UsageError

if TYPE_CHECKING:
    from basis.paper.experiment import Outcome
    from basis.paper.plan import Cost
    from basis.paper.run import Reproduction
    from basis.paper.setup import Setup

LONG = 60  # seconds of work from which several processes are worth starting
PRIORS = "mnist-glow, mnist-ncsn, cifar10-glow, cifar10-ncsn, lsun-bedroom, lsun-church"  # of `basis.paper.setup`


def reproduce(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="table1 … table4, figure1 … figure8, or all.")],
    n: Annotated[int, typer.Option("--n", help="Mixtures of each figure.")] = 100,
    seed: cli.SeedOption = 0,
    device: cli.DeviceOption = "cpu",
    precision: cli.PrecisionOption = "no",
    compile_: cli.CompileOption = False,
    out: Annotated[Path, typer.Option("--out", help="Folder of the results; a later run goes on there.")] = Path(
        "reproduction"
    ),
    method: Annotated[
        list[str] | None,
        typer.Option("--method", metavar="ROW=METHOD", help="A row: a method, folder, or FILE.py with a Separator."),
    ] = None,
    prior: Annotated[
        list[str] | None, typer.Option("--prior", metavar="NAME=PRIOR", help=f"A prior: {PRIORS}.")
    ] = None,
    features: Annotated[
        str,
        typer.Option(
            "--features", help="For IS, FID: inception, mnist-digits, cifar10-classes, cifar10-textures, a file."
        ),
    ] = "inception",
    only: Annotated[list[str] | None, typer.Option("--only", metavar="ROW", help="Measure this row alone.")] = None,
    more: Annotated[bool, typer.Option("--more", help="Also the rows that are left out for their cost.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it will cost, and stop.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="Processes at once; on a CPU one a core by default, where it takes long."
        ),
    ] = None,
    batch_size: cli.BatchOption = 50,
    data_dir: cli.DataDirOption = None,
) -> None:
    """Measure the paper's tables and draw its figures; write a report with published and measured side by side.

    Finished mixtures are kept in OUT: stop it with Ctrl-C, and the same command goes on from there; a larger --n
    computes only what is new. A row of your own: --method "Mine=my_separator.py". Methods that learn are looked for in
    fits/METHOD-mnist-TASK, then models/METHOD-mnist-TASK; a row that lacks one says how to fit it.
    """
    import torch

    from basis.core.checks import device_of
    from basis.paper.run import choose, claimed, costs
    from basis.paper.setup import Setup

    device_of(device)
    setup = Setup(
        n,
        seed,
        device,
        precision,
        compile_,
        str(data_dir) if data_dir else None,
        features,
        _pairs(prior, "--prior"),
        _pairs(method, "--method"),
        more,
        only or (),
        batch_size,
        shlex.join(["basis", *sys.argv[1:]]),
    )
    setup.check()
    chosen = choose(names)
    if features != "inception":  # a name that is wrong should be said at once; a row says that Inception is missing
        setup.extractor()
    if not plan:
        with claimed(out):  # a folder that is not free should be said at once, too
            pass
    expected = costs(chosen, setup, out)
    _tell(expected)
    if plan:
        return
    if workers is None:
        long = device == "cpu" and sum(cost.seconds for cost in expected) > LONG
        workers = torch.get_num_threads() if long else 1
    try:
        found = _follow(chosen, setup, out, workers)
    except KeyboardInterrupt:
        raise Stopped(f"stopped; finished mixtures are in {out}, and the same command goes on from there") from None
    for name, outcome in found.outcomes.items():
        typer.echo(f"\n{name}\n{table(outcome)}")
    typer.echo(f"\n{found.report}")


def _pairs(entries: list[str] | None, option: str) -> dict[str, str]:
    """Return NAME=VALUE entries as a dictionary; a value alone is named by its stem."""
    found = {}
    for entry in entries or []:
        name, _, value = entry.rpartition("=")
        name = name or Path(value).stem
        if not value or name in found:
            raise UsageError(
                f"expected NAME=VALUE, each name once, got {option} {entry}", fix=f"see {option} in --help"
            )
        found[name] = value
    return found


def _tell(found: list[Cost]) -> None:
    """Print what is left to do and the time it will take."""
    from basis.paper.plan import in_words

    for cost in found:
        settings = " ".join(f"{name}={value}" for name, value in cost.job.settings.items())
        what = f"{f'{cost.job.method} {settings}'.strip()}, prior {cost.job.prior}, {cost.job.where}"
        done = cost.mixtures - cost.left
        typer.echo(
            f"{what}: {cost.left} of {cost.mixtures} mixtures left ({done} done), {cost.evaluations:,} evaluations, "
            f"{in_words(cost.seconds)}"
        )
    total, evaluations = sum(cost.seconds for cost in found), sum(cost.evaluations for cost in found)
    typer.echo(f"in all {evaluations:,} evaluations, {in_words(total)}, besides what is measured of the separations")


def _follow(names: list[str], setup: Setup, out: Path, workers: int) -> Reproduction:
    """Run behind a progress bar."""
    from basis.paper.run import reproduce as run

    steps, title = run(names, setup, out, workers), ""
    with progress() as bar:
        while True:
            try:
                now = next(steps)
            except StopIteration as stop:
                return stop.value
            if now.title != title:
                title = now.title
                bar.reset(now.total)
                bar.set_description(title)
            bar.update(now.done - bar.n)


def table(outcome: Outcome) -> str:
    """Return the figures as text: row, column, published, measured and n; what is missing in notes below."""
    from basis.paper.report import number

    lines, reasons = [], list[str]()
    width = max((len(f"{cell.row}, {cell.column}") for cell in outcome.cells), default=0)
    for cell in outcome.cells:
        name = f"{cell.row}, {cell.column}".rstrip(", ")
        head = f"  {name:{width}}  published {number(cell.published, cell.published_error, cell.unit):>12}"
        if cell.measured is not None:
            figure = number(cell.measured, cell.error, cell.unit, cell.n)
            lines.append(f"{head}  measured {figure:>13} {cell.unit} (n = {cell.n})")
            continue
        if cell.missing not in reasons:
            reasons.append(cell.missing)
        lines.append(f"{head}  not measured [{reasons.index(cell.missing) + 1}]")
    return "\n".join([*lines, *(f"  [{i}] {reason}" for i, reason in enumerate(reasons, 1))])
