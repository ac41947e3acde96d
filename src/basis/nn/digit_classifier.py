"""A small convolutional network that reads digits."""

from __future__ import annotations

from torch import Tensor, nn

CLASSES = 10


class DigitClassifier(nn.Module):
    """Three 3×3 convolutions with batch normalisation and two linear layers: 170,010 parameters (LeCun et al. 1998).

    Args:
        width: channels of the first convolution; the others have two and three times as many.
        features: number D of features before the last layer.

    Example:
        >>> import torch
        >>> DigitClassifier().eval()(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, width: int = 16, features: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_block(1, width),
            *_block(width, 2 * width),
            nn.MaxPool2d(2),
            *_block(2 * width, 3 * width),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(3 * width * 7 * 7, features),
            nn.ReLU(),
        )
        self.head = nn.Linear(features, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """Return the features, (N, D), at least 0, of images in [0, 1], (N, 1, 28, 28)."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the ten digits, (N, 10), of images in [0, 1], (N, 1, 28, 28)."""
        return self.head(self.body(x))


def _block(below: int, above: int) -> list[nn.Module]:
    return [nn.Conv2d(below, above, 3, padding=1, bias=False), nn.BatchNorm2d(above), nn.ReLU()]
