"""What a reproduction was asked for, and what of it is at hand."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from basis.core.errors import BasisError, DataError, UsageError, unknown
from basis.core.prior import DensityPrior, Prior
from basis.core.separator import Separator, choose
from basis.io.checkpoint import foreign, load_prior, locate, read_card, weights_sha256
from basis.io.durable import sha256_of
from basis.io.learned import load_separator
from basis.io.limits import check_request
from basis.io.presets import resolve
from basis.metrics._features import Extractor, extractor, missing_inception
from basis.paper.job import Flat, Job, Remembered
from basis.priors.wrappers.accelerated import PRECISIONS, Accelerated

FLAT = "flat"
PRIORS = {  # that the paper's rows need and nobody could bundle
    "mnist-glow": "a Glow of MNIST at ten noise levels (`basis import glow`, `basis finetune recipe:glow-mnist`)",
    "mnist-ncsn": "an NCSN of MNIST (`basis import ncsn`, `basis train recipe:ncsn-mnist`)",
    "cifar10-glow": "a Glow of CIFAR-10 at ten noise levels (`basis import glow`, `basis finetune`)",
    "cifar10-ncsn": "an NCSN of CIFAR-10 (`basis import ncsn`, `basis train recipe:ncsn-cifar10`)",
    "lsun-bedroom": "a Glow of LSUN bedrooms, 64×64, at ten noise levels (`basis import glow`, `basis finetune`)",
    "lsun-church": "a Glow of LSUN churches, 64×64, at ten noise levels (`basis import glow`, `basis finetune`)",
}


SMALLEST = 784  # pixels of the smallest images in the paper
PLACES = ("runs", "models")  # in the working directory: one's own training first, then what the project keeps


def wanted(name: str) -> str:
    """Return what to do about a prior of `PRIORS` that was not given."""
    return f"prior {name}: {PRIORS[name]}; then --prior {name}=FOLDER"


def kept(names: Sequence[str]) -> tuple[str, str]:
    """Return priors that the wheel does without, for `Job.prior`, and what is not at hand of them, empty if nothing."""
    found, lacking = [], []
    for name in names:
        folders = [Path(place) / name for place in PLACES]
        found += [str(folder) for folder in folders if folder.is_dir()][:1]
        if not any(folder.is_dir() for folder in folders):
            lacking.append(f"prior {name}: `basis train recipe:{name}`, or run where {folders[-1]} is")
    return ",".join(found), "; ".join(lacking)


@dataclass(frozen=True)
class Setup:
    """The request of a reproduction.

    Args:
        n: mixtures of each figure.
        seed: fixes mixtures and separations.
        device: where to compute.
        precision, compile: what networks without a density compute in, and whether compiled, see `Accelerated`.
        data_dir: folder of the data sets; BASIS_DATA by default.
        features: extractor for Inception Score and FID, see `basis.metrics._features.extractor`.
        priors: priors that are not bundled, by the names in `PRIORS`.
        methods: methods by the name of their row, "ROW" or "ROW/TASK": of the paper's rows, and of rows of one's own.
        more: whether to measure the rows that are optional for their cost.
        only: names of the rows to measure; all by default.
        batch_size: mixtures at a time.
        command: the command that asked for it.

    Example:
        >>> setup = Setup(n=500, methods={"NMF/split": "runs/nmf-split", "Mine": "mine.py"})
        >>> setup.method_for("NMF", "split"), setup.method_for("NMF", "agnostic"), setup.method_for("Mine", "split")
        ('runs/nmf-split', None, 'mine.py')
    """

    n: int = 100
    seed: int = 0
    device: str = "cpu"
    precision: str = "no"
    compile: bool = False
    data_dir: str | None = None
    features: str = "inception"
    priors: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    more: bool = False
    only: Sequence[str] = ()
    batch_size: int = 50
    command: str = ""

    def __post_init__(self) -> None:
        if self.n < 1 or self.seed < 0 or self.batch_size < 1:
            raise UsageError(
                f"expected n >= 1, seed >= 0 and a batch size >= 1, got {self.n}, {self.seed} and {self.batch_size}",
                fix="for instance --n 100 --seed 0",
            )
        check_request(f"n={self.n}", 4 * 3 * self.n * SMALLEST, fix="ask for fewer mixtures")
        for name in self.priors:
            if name not in PRIORS:
                raise unknown("prior of the paper", name, PRIORS)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)

    def check(self) -> None:
        """Look at the methods and priors that were given, without what is slow to load.

        Raises:
            UsageError: there is no such method, file or prior.
            DataError: it cannot be read.
        """
        for name in self.methods.values():
            self._made(name, {})
        for name in self.priors.values():
            if not foreign(name):
                locate(name)

    @cached_property
    def _cache(self) -> dict:
        return {}

    def once(self, key: tuple, make: Callable[[], Any]) -> Any:
        """Return what ``make`` returns, which is called once for a key."""
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def data(self, name: str) -> Remembered:
        """Return a data set, whose splits are read once."""
        return self.once(("data", name), lambda: Remembered(name, self.data_dir))

    def prior(self, job: Job) -> list[Prior]:
        """Return a prior for each source."""
        names = job.prior.split(",")
        return [self.once(("prior", name, job.data), partial(self._load, name, job)) for name in names] * (
            job.images if len(names) == 1 else 1
        )

    def _load(self, name: str, job: Job) -> Prior:
        if name != FLAT:
            prior = load_prior(name, self.device)
            plain = (self.precision == "no" and not self.compile) or isinstance(prior, DensityPrior)
            return prior if plain else Accelerated(prior, self.precision, self.compile)
        data = self.data(job.data)
        return Flat(data.images(job.split)[0].shape[1:], data.data_range).to(self.device)

    def method(self, job: Job) -> Separator:
        """Return the job's separator: by name, from a folder that `basis fit` wrote, or from a Python file."""
        return self.once(("method", job.method, str(job.settings)), lambda: self._made(job.method, job.settings))

    def _made(self, method: str, settings: dict) -> Separator:
        path = Path(method)
        if path.suffix == ".py":
            return separator_in(path)(**settings)
        if path.is_dir():
            return load_separator(path, self.device, **settings)
        return choose(*resolve(method, settings))

    def facts(self, job: Job) -> dict:
        """Return all that the separations of a job depend on as JSON values."""
        compiled = {"compile": True} if self.compile else {}
        return job.facts(self.seed, self.hashes(job)) | {"precision": self.precision, **compiled}

    def hashes(self, job: Job) -> dict[str, str | None]:
        """Return the hash of each prior of a job, and of its method where that is a file."""
        return self.once(("hashes", job.prior, job.method), lambda: self._hashes(job))

    def _hashes(self, job: Job) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for name in set(job.prior.split(",")) - {FLAT}:
            found[name] = None if foreign(name) else read_card(locate(name)).get("sha256") or sha256_of(locate(name))
        if sha256 := weights_sha256(job.method):
            found[job.method] = sha256
        return found

    def lacking(self, job: Job) -> str:
        """Return what a job needs that is not at hand, empty where nothing is missing."""
        return self.once(("lacking", repr(job)), lambda: self._lacking(job))

    def fail(self, job: Job, error: BasisError) -> None:
        """Remember that a job cannot be done, and why."""
        self._cache["lacking", repr(job)] = str(error)

    def method_for(self, row: str, task: str) -> str | None:
        """Return the method that was given for a row, in this task alone ("ROW/TASK") or in all."""
        return self.methods.get(f"{row}/{task}", self.methods.get(row))

    def _lacking(self, job: Job) -> str:
        if lacking := self.once(("no data", job.data, job.split), lambda: self._lacking_data(job)):
            return lacking
        try:
            self.prior(job)
            self.method(job)
            self.hashes(job)
        except BasisError as error:
            return str(error)
        return ""

    def _lacking_data(self, job: Job) -> str:
        try:
            self.data(job.data).images(job.split)
        except BasisError as error:
            return str(error)
        return ""

    def extractor(self) -> Extractor:
        """Return the feature extractor; raises `DataError` where it is not at hand."""
        return self.once(("extractor",), lambda: extractor(self.features, self.device))

    def lacking_features(self) -> str:
        """Return what the features need that is not at hand, empty where nothing is missing."""
        return missing_inception() if self.features == "inception" else ""


def separator_in(path: Path) -> type[Separator]:
    """Return the separator class that a Python file defines.

    Raises:
        UsageError: there is no such file, or it does not define exactly one public `Separator`.
        DataError: the file does not run.
    """
    if not path.is_file():
        raise UsageError(f"no Python file at {path}", fix="give the file that defines your separator")
    spec = importlib.util.spec_from_file_location(f"separator_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise DataError(f"{path} does not run ({type(error).__name__}: {error})", fix="mend it") from error
    found = [
        cls
        for name, cls in vars(module).items()
        if inspect.isclass(cls) and issubclass(cls, Separator) and cls.__module__ == module.__name__
        if not name.startswith("_") and not inspect.isabstract(cls)
    ]
    if len(found) != 1:
        names = ", ".join(cls.__name__ for cls in found) or "none"
        raise UsageError(f"{path} should define one basis.Separator, found {names}", fix="name helpers with a _")
    return found[0]
