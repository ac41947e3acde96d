"""Give a prior of colours a reader of grey pictures, `basis.networks.reader.Reader`: see cifar10-colour-read.toml.

    python recipes/grey_reader.py recipes/cifar10-colour-read.toml --from runs/cifar10-colour-named --out runs/reader

Reads CIFAR-10 from BASIS_DATA. Trains the reader on the training split in grey, by each of the prior's sums, mirrored
and moved at random; looks at the validation split after every epoch. One thread. Writes the prior that the recipe
describes, with the weights of the one that it starts from, to which what the reader says counts for nothing yet.
"""

import argparse
import time

import torch
from picture_classifier import disturbed
from torch import nn

from basis.core.checkpoint import save_prior
from basis.datasets.cifar10 import CIFAR10
from basis.training.loop import _prior, _start
from basis.training.recipe import read_recipe

EPOCHS, BATCH, RATE, DECAY, SMOOTHING = 12, 128, 4e-3, 5e-2, 0.1


def grey(x, prior, which):
    """Return one sum of each image's channels as the prior sees it, (B, 1, H, W), number which (B,) of its sums."""
    return prior.beside(x - prior.mean)[torch.arange(len(x)), which][:, None]


@torch.no_grad()
def accuracy(reader, prior, images, labels):
    """Share of the images whose class is read right from the prior's first sum."""
    reader.eval()
    parts = [part.float() / 255 for part in images.split(500)]
    read = torch.cat([reader.logits(grey(x, prior, torch.zeros(len(x), dtype=torch.long))).argmax(1) for x in parts])
    return (read == labels).double().mean().item()


def main():
    """Train, join and save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("--from", dest="start", required=True, help="prior without a reader")
    parser.add_argument("--out", required=True, help="prior folder to write")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data, began, generator = CIFAR10(), time.monotonic(), torch.Generator().manual_seed(0)
    images, labels = data.images("train")
    recipe = read_recipe(given.recipe)
    prior = _prior(recipe, tuple(images.shape[1:]))
    _start(prior, given.start)
    reader = prior.network.reader
    reader.frozen = False
    reader.requires_grad_(True).to(memory_format=torch.channels_last)
    steps = EPOCHS * (len(images) // BATCH)
    optimiser = torch.optim.AdamW(reader.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, anneal_strategy="linear")
    for epoch in range(1, EPOCHS + 1):
        reader.train()
        for index in torch.randperm(len(images), generator=generator).split(BATCH)[: len(images) // BATCH]:
            x = disturbed(images[index].float() / 255, generator)
            with torch.autocast("cpu", torch.bfloat16):
                logits = reader.logits(grey(x, prior, torch.randint(len(prior.sums), (BATCH,), generator=generator)))
            loss = nn.functional.cross_entropy(logits.float(), labels[index], label_smoothing=SMOOTHING)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        right = accuracy(reader, prior, *data.images("validation"))
        seconds = round(time.monotonic() - began)
        print(f"epoch {epoch}: loss {loss:.4f}, validation {right:.4f}, {seconds} s", flush=True)
    card = {
        "summary": "a prior of CIFAR-10's colours and a network that reads grey pictures, not yet trained together",
        "reader": {
            "command": f"python recipes/grey_reader.py {given.recipe} --from {given.start} --out {given.out}",
            "epochs": EPOCHS,
            "seconds": seconds,
            "training_accuracy": round(accuracy(reader, prior, images[:5000], labels[:5000]), 4),
            "validation_accuracy": round(right, 4),
        },
    }
    reader.freeze()
    save_prior(prior, recipe.arguments, given.out, card)
    print(card)


if __name__ == "__main__":
    main()
