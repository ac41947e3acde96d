"""Train the bundled digit classifier, the extractor "mnist-digits": `nice python scripts/digit_classifier.py`.

Reads MNIST from BASIS_DATA. Trains on the training split, looks at the validation split after every epoch, and at the
test split once, at the end. One thread, a few minutes. Writes src/basis/assets/pretrained/extractors/mnist-digits.
"""

import sys
import time
from pathlib import Path

import torch
from torch import nn

from basis.datasets.mnist import MNIST
from basis.io.output import needed
from basis.metrics._features import EXTRACTOR, FOLDER, save_extractor
from basis.nn.digit_classifier import DigitClassifier

EPOCHS, BATCH, RATE, SHIFT, NOISE = 8, 128, 4e-3, 2, 0.1
SUMMARY = "a small convolutional network that reads MNIST digits"


def disturbed(x, generator):
    """Shift each batch by up to two pixels and add a little noise, clamped: separated digits are not quite clean."""
    shift = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=generator).tolist()
    noise = NOISE * torch.rand(len(x), 1, 1, 1, generator=generator) * torch.randn(x.shape, generator=generator)
    return (torch.roll(x, shift, (2, 3)) + noise).clamp(0, 1)


@torch.no_grad()
def accuracy(network, images, labels):
    """Share of the images that the network reads right."""
    network.eval()
    read = torch.cat([network(part.float() / 255).argmax(1) for part in images.split(500)])
    return (read == labels).double().mean().item()


def main(folder):
    needed(folder, EXTRACTOR, {})  # said before hours of work
    """Train, measure and save."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data, start, generator = MNIST(), time.monotonic(), torch.Generator().manual_seed(0)
    images, labels = data.images("train")
    network = DigitClassifier()
    steps = EPOCHS * (len(images) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for epoch in range(1, EPOCHS + 1):
        network.train()
        for index in torch.randperm(len(images), generator=generator).split(BATCH)[: len(images) // BATCH]:
            loss = nn.functional.cross_entropy(
                network(disturbed(images[index].float() / 255, generator)), labels[index]
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch}: loss {loss:.4f}, validation {accuracy(network, *data.images('validation')):.4f}")
    card = {
        "summary": SUMMARY,
        "data": "MNIST, the first 55,000 published training images; the last 5,000 for validation",
        "command": "nice python scripts/digit_classifier.py",
        "epochs": EPOCHS,
        "seconds": round(time.monotonic() - start),
        "validation_accuracy": accuracy(network, *data.images("validation")),
        "test_accuracy": accuracy(network, *data.images("test")),
        "torch": torch.__version__,
    }
    save_extractor(network.eval(), {"width": 16, "features": 64}, folder, card)
    print(card)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "mnist-digits")
