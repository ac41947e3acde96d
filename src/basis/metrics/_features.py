"""Feature extractors: what Inception Score, FID and KID see of an image. Their name belongs to every figure."""

from __future__ import annotations

import json
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from basis.core.checks import path_of
from basis.core.errors import DataError, UsageError, unknown
from basis.core.metric import UNIT, DataRange, SetMetric, Values, scaled
from basis.io.checkpoint import HEADER, PRETRAINED, WEIGHTS, load_module
from basis.io.claim import claim
from basis.io.durable import sha256_of
from basis.io.loading import untouched
from basis.io.output import replacing
from basis.io.saving import put
from basis.nn.digit_classifier import DigitClassifier
from basis.nn.picture_classifier import PictureClassifier

FOLDER = PRETRAINED / "extractors"
EXTRACTOR = "extractor"  # kind of folder, see `basis.io.output.Mark`
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION}"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
BATCH = 100  # images at a time

Answer = tuple[Tensor, Tensor | None]
Classifier = DigitClassifier | PictureClassifier
CLASSIFIERS: dict[str, type[Classifier]] = {"mnist-digits": DigitClassifier, "cifar10-classes": PictureClassifier}
EARLY = {"cifar10-textures": "cifar10-classes"}  # extractors by the classifier whose first stage they are


@dataclass(frozen=True, eq=False)
class Extractor:
    """Features of images, under a name.

    Attributes:
        name: "inception", the name of a bundled extractor, or the name of a file.
        sha256: hash of the weights.
        call: images in [0, 1], (N, C, H, W), to their features, (N, D), and class logits, (N, classes), or None.
    """

    name: str
    sha256: str
    call: Callable[[Tensor], Answer]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Iterator[Answer]:
        """Yield the features and logits of images in [0, 1], (N, C, H, W), part by part, in float64 on the CPU."""
        for part in images.split(BATCH):
            try:
                features, logits = self.call(part)
            except RuntimeError as error:
                shape = tuple(images.shape[1:])
                reason = str(error).strip().splitlines()[-1]
                raise UsageError(
                    f"extractor {self.name} does not take images of shape {shape} ({reason})",
                    fix="choose one that was made for such images with --features",
                ) from error
            yield features.double().cpu(), None if logits is None else logits.double().cpu()


class FeatureMetric(SetMetric):
    """A figure of what an extractor sees in images; ``kind`` is its name without that of the extractor.

    Args:
        features: what sees the images, see `extractor`.
        device: where to compute features.
        data_range: smallest and largest value of the images, which the extractor sees as 0 and 1; or the largest.
    """

    kind: str
    unit = ""

    def __init__(self, features: str | Path | Extractor, device: str = "cpu", data_range: DataRange = UNIT) -> None:
        self.extractor, self.data_range = extractor(features, device), data_range
        self.name = f"{self.kind} ({self.extractor.name})"

    def update(self, examples: Values, real: bool = False) -> None:
        """Take in examples that are images, (N, C, H, W): separated ones, or real ones to compare them with.

        Raises:
            UsageError: values of another range than the data's; separated images may be outside of it a little.
        """
        shape = tuple(getattr(examples, "shape", ()))
        if len(shape) != 4 or 0 in shape:
            raise UsageError(f"expected images (N, C, H, W), at least one, got {shape}", fix="give a batch of them")
        for features, logits in self.extractor(scaled(examples, self.data_range, exact=real)):
            self.take(features, logits, real)

    @abstractmethod
    def take(self, features: Tensor, logits: Tensor | None, real: bool = False) -> None:
        """Take in features, (N, D), and class logits, (N, classes), as `Extractor` gives them: `update` without it."""


def extractor(source: str | Path | Extractor = "inception", device: str = "cpu") -> Extractor:
    """Return a feature extractor.

    Args:
        source: "inception" (the network of the published figures: 3×H×W images in 8 bits, 2,048 features), a bundled
            one ("mnist-digits": 1×28×28; "cifar10-classes": 3×32×32; "cifar10-textures": the same classifier's first
            stage, which sees colours and textures where the last sees objects), or a TorchScript file whose module
            takes images in [0, 1], (N, C, H, W), and returns features, (N, D), or a tuple of features and class logits.
        device: where to compute.

    Raises:
        UsageError: no such extractor.
        DataError: the Inception weights are not at hand (the message names the file, its hash and where it goes), or
            the file is not a TorchScript module.

    Example:
        >>> features, logits = next(extractor("mnist-digits")(torch.zeros(2, 1, 28, 28)))
        >>> features.shape, logits.shape
        (torch.Size([2, 64]), torch.Size([2, 10]))
    """
    if isinstance(source, Extractor):
        return source
    path = path_of(source, "the name or file of a feature extractor")
    if str(source) == "inception":
        return _inception(device)
    if (name := str(source)) in bundled():
        owner = EARLY.get(name, name)
        network = load_classifier(owner, device)
        sha256 = sha256_of(FOLDER / owner / WEIGHTS)
        return Extractor(name, sha256, lambda x: _both(network, x.to(device, torch.float32), name in EARLY))
    if path.is_file():
        return _torchscript(path, device)
    raise unknown("feature extractor", str(source), ["inception", *bundled()])


def bundled() -> list[str]:
    """Return the names of the bundled extractors."""
    return sorted([*(path.parent.name for path in FOLDER.glob(f"*/{WEIGHTS}")), *EARLY])


def load_classifier(name: str = "mnist-digits", device: str = "cpu") -> Classifier:
    """Return a bundled classifier in evaluation mode."""
    path = FOLDER / name / WEIGHTS
    with safetensors.safe_open(path, "pt") as file:
        arguments = json.loads(file.metadata()[HEADER])
    return load_module(path, lambda: CLASSIFIERS[name](**arguments)).to(device)


def save_extractor(network: nn.Module, arguments: dict, folder: Path, card: dict) -> None:
    """Write a classifier with its card, together or not at all; the hash of the weights is added."""
    content = save({k: v.contiguous() for k, v in network.state_dict().items()}, {HEADER: json.dumps(arguments)})
    with claim(folder), replacing(folder, EXTRACTOR, {}) as new:
        put(content, new, card)


def inception_weights() -> Path:
    """Return where the Inception weights lie: where torch keeps downloads."""
    return Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION


def missing_inception() -> str:
    """Return what the Inception features lack here, empty where nothing is missing; nothing is downloaded."""
    path = inception_weights()
    if not path.is_file():
        return f"Inception weights: {path} (sha256 {INCEPTION_SHA256}, from {INCEPTION_URL})"
    if sha256_of(path) != INCEPTION_SHA256:
        return f"Inception weights: {path} has not the sha256 {INCEPTION_SHA256}; fetch it anew from {INCEPTION_URL}"
    try:
        import torch_fidelity  # noqa: F401
    except ImportError as error:
        return f"torch-fidelity, with a torchvision that suits this torch ({error}): pip install torch-fidelity"
    return ""


def _inception(device: str) -> Extractor:
    if lacking := missing_inception():
        raise DataError(
            f"the published FID and Inception Score need what is not at hand: {lacking}",
            fix="put it there, or name other features: --features mnist-digits or a TorchScript file",
        )
    from torch_fidelity import FeatureExtractorInceptionV3

    names, path = ["2048", "logits_unbiased"], str(inception_weights())
    with untouched():
        network = FeatureExtractorInceptionV3("inception", names, feature_extractor_weights_path=path)
    network = network.eval().to(device)

    def call(x: Tensor) -> Answer:
        features, logits = network((x.clamp(0, 1) * 255).round().to(device, torch.uint8))
        return features, logits

    return Extractor("inception", INCEPTION_SHA256, call)


def _torchscript(path: Path, device: str) -> Extractor:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript itself, since torch 2.9
            network = torch.jit.load(path, map_location=device).eval()
    except RuntimeError as error:
        raise DataError(f"{path} is not a TorchScript module", fix="write it with torch.jit.save") from error

    def call(x: Tensor) -> Answer:
        answer = network(x.to(device, torch.float32))
        return answer if isinstance(answer, tuple) else (answer, None)

    return Extractor(path.name, sha256_of(path), call)


def _both(network: Classifier, x: Tensor, early: bool) -> Answer:
    features = network.features(x)
    logits = network.head(features)
    return network.textures(x) if early and isinstance(network, PictureClassifier) else features, logits
