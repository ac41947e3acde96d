"""Methods that learn first: what a row needs fitted, where it is looked for, and whether it is that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from basis.core.errors import BasisError
from basis.io.checkpoint import open_weights, read_card

PLACES = ("fits", "models")  # in the working directory: one's own fits first, then what the project keeps


@dataclass(frozen=True)
class Fitted:
    """What the row of a method that learns needs, a folder of `basis fit` for each task.

    Args:
        method: the method, see `basis list`.
        tasks: tasks that the row has figures of.
        supervised: the setting of that name, of the method that has it.
        data: the data set.

    Example:
        >>> Fitted("neural_egg", ["split"], supervised=True).name("split")
        'neural_egg_supervised-mnist-split'
        >>> Fitted("nmf", ["split"]).command("split")
        'basis fit nmf --data mnist --task split --out fits/nmf-mnist-split'
    """

    method: str
    tasks: Sequence[str]
    supervised: bool = False
    data: str = "mnist"

    def name(self, task: str) -> str:
        """Return the name of the folder for a task."""
        return f"{self.method}{'_supervised' if self.supervised else ''}-{self.data}-{task}"

    def command(self, task: str) -> str:
        """Return the command that fits the method to a task."""
        besides = " --set supervised=true" if self.supervised else ""
        out = f"{PLACES[0]}/{self.name(task)}"
        return f"basis fit {self.method} --data {self.data} --task {task}{besides} --out {out}"

    def find(self, task: str) -> Path | None:
        """Return the folder for a task, the first there is."""
        folders = (Path(place) / self.name(task) for place in PLACES)
        return next((folder for folder in folders if folder.is_dir()), None)

    def wrong(self, folder: Path, task: str) -> str:
        """Return in what a folder is not what its name says, empty where it is."""
        try:
            path, header = open_weights(folder)
            card = read_card(path)
        except BasisError as error:
            return str(error)
        found = {
            "method": header.get("separator", "none"),
            "supervised": header.get("arguments", {}).get("supervised", False),
            "data": card.get("data", "unknown"),
            "task": card.get("task", "unknown"),
        }
        wanted = {"method": self.method, "supervised": self.supervised, "data": self.data, "task": task}
        faults = [f"{key} {found[key]}, not {value}" for key, value in wanted.items() if found[key] != value]
        return f"{folder} is of {'; '.join(faults)}" if faults else ""
