"""Train the bundled classifier of CIFAR-10, the extractor "cifar10-classes": `python scripts/picture_classifier.py`.

Reads CIFAR-10 from BASIS_DATA. Trains on the training split, mirrored and moved at random, looks at the validation
split after every epoch, and at the test split once, at the end. One thread. Writes
src/basis/assets/pretrained/extractors/cifar10-classes, or another folder, if one is given.
"""

import sys
import time
from pathlib import Path

import torch
from digit_classifier import accuracy
from torch import nn

from basis.datasets.cifar10 import CIFAR10
from basis.io.output import needed
from basis.metrics._features import EXTRACTOR, FOLDER, save_extractor
from basis.nn.picture_classifier import PictureClassifier

EPOCHS, BATCH, RATE, DECAY, SMOOTHING, SHIFT = 11, 128, 4e-3, 5e-2, 0.1, 2
SUMMARY = "a small convolutional network that names the class of CIFAR-10 pictures"


def disturbed(x, generator):
    """Mirror half of the pictures, and move each by up to two pixels, with its border mirrored."""
    x = torch.where(torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5, x, x.flip(3))
    x = nn.functional.pad(x, (SHIFT,) * 4, mode="reflect")
    top, left = torch.randint(0, 2 * SHIFT + 1, (2, len(x), 1, 1, 1), generator=generator)
    pixels = torch.arange(x.shape[-1] - 2 * SHIFT)
    pictures, channels = torch.arange(len(x))[:, None, None, None], torch.arange(3)[:, None, None]
    return x[pictures, channels, top + pixels[:, None], left + pixels]


def fit(network, data, epochs, generator):
    """Train a network that gives logits on the training split, and return its last validation accuracy and seconds."""
    start, (images, labels) = time.monotonic(), data.images("train")
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, anneal_strategy="linear")
    for epoch in range(1, epochs + 1):
        network.train()
        for index in torch.randperm(len(images), generator=generator).split(BATCH)[: len(images) // BATCH]:
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(disturbed(images[index].float() / 255, generator))
            loss = nn.functional.cross_entropy(logits.float(), labels[index], label_smoothing=SMOOTHING)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        right = accuracy(network, *data.images("validation"))
        seconds = round(time.monotonic() - start)
        print(f"epoch {epoch}: loss {loss:.4f}, validation {right:.4f}, {seconds} s", flush=True)
    return right, seconds


def main(folder):
    needed(folder, EXTRACTOR, {})  # said before hours of work
    """Train, measure and save."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data, generator = CIFAR10(), torch.Generator().manual_seed(0)
    network = PictureClassifier().to(memory_format=torch.channels_last)
    right, seconds = fit(network, data, EPOCHS, generator)
    card = {
        "summary": SUMMARY,
        "data": "CIFAR-10, the first 45,000 published training images; the last 5,000 for validation",
        "command": "python scripts/picture_classifier.py",
        "epochs": EPOCHS,
        "seconds": seconds,
        "validation_accuracy": right,
        "test_accuracy": accuracy(network, *data.images("test")),
        "torch": torch.__version__,
    }
    save_extractor(network.eval(), {"first": 24, "widths": [64, 128, 256]}, folder, card)
    print(card)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "cifar10-classes")
