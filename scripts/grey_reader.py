"""Give a prior of colours a reader of grey pictures, `basis.nn.reader.Reader`: see cifar10-colour-read.toml.

    python scripts/grey_reader.py recipes/cifar10-colour-read.toml --from runs/cifar10-colour-named --out runs/reader

Reads CIFAR-10 from BASIS_DATA. Trains the reader on the training split in grey, by each of the prior's sums, mirrored
and moved at random; looks at the validation split after every epoch. One thread. Writes the prior that the recipe
describes, with the weights of the one that it starts from, to which what the reader says counts for nothing yet.
"""

import argparse

import torch
from digit_classifier import accuracy
from picture_classifier import fit
from torch import nn

from basis.datasets.cifar10 import CIFAR10
from basis.io.checkpoint import PRIOR, save_prior
from basis.io.output import needed
from basis.train.loop import _prior, _start
from basis.train.recipe import read_recipe

EPOCHS = 12


class Grey(nn.Module):
    """What the prior's reader says of colour images: of one of their sums at random in training, else of the first."""

    def __init__(self, prior, generator):
        super().__init__()
        self.reader, self.generator = prior.network.reader, generator
        self.sums = lambda x: prior.beside(x - prior.mean)

    def forward(self, x):
        """Return logits, (B, classes), of images in [0, 1], (B, 3, H, W)."""
        sums = self.sums(x)
        which = torch.zeros(len(x), dtype=torch.long)
        if self.training:
            which = torch.randint(sums.shape[1], (len(x),), generator=self.generator)
        return self.reader.logits(sums[torch.arange(len(x)), which][:, None])


def main():
    """Train, join and save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("--from", dest="start", required=True, help="prior without a reader")
    parser.add_argument("--out", required=True, help="prior folder to write")
    given = parser.parse_args()
    needed(given.out, PRIOR, {})  # said before hours of work
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data, generator = CIFAR10(), torch.Generator().manual_seed(0)
    images, labels = data.images("train")
    recipe = read_recipe(given.recipe)
    prior = _prior(recipe, tuple(images.shape[1:]))
    _start(prior, given.start)
    reader = prior.network.reader
    reader.frozen = False
    reader.requires_grad_(True).to(memory_format=torch.channels_last)
    network = Grey(prior, generator)
    right, seconds = fit(network, data, EPOCHS, generator)
    card = {
        "summary": "a prior of CIFAR-10's colours and a network that reads grey pictures, not yet trained together",
        "reader": {
            "command": f"python scripts/grey_reader.py {given.recipe} --from {given.start} --out {given.out}",
            "epochs": EPOCHS,
            "seconds": seconds,
            "training_accuracy": round(accuracy(network, images[:5000], labels[:5000]), 4),
            "validation_accuracy": round(right, 4),
        },
    }
    reader.freeze()
    save_prior(prior, recipe.arguments, given.out, card)
    print(card)


if __name__ == "__main__":
    main()
