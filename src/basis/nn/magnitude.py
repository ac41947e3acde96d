"""Weights of unit norm while training, plain weights afterwards (Karras et al. 2024, section 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class UnitNorm(nn.Module):
    """Parametrisation ``w = v / ‖v‖`` for each output unit, so that a layer keeps the variance of its input."""

    def forward(self, v: Tensor) -> Tensor:
        return v / (torch.linalg.vector_norm(v, dim=tuple(range(1, v.dim())), keepdim=True) + 1e-6)

    def right_inverse(self, w: Tensor) -> Tensor:
        return self(w)


def hold_weights(network: nn.Module) -> None:
    """Put every convolution and linear layer of the network that is to be trained under `UnitNorm`."""
    for module in list(network.modules()):
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear) and module.weight.requires_grad:
            parametrize.register_parametrization(module, "weight", UnitNorm())


@torch.no_grad()
def renew_weights(network: nn.Module) -> None:
    """Scale the stored weights back to unit norm, so that the learning rate keeps its meaning; after each step."""
    for module in network.modules():
        if isinstance(module, parametrize.ParametrizationList):
            module.original.copy_(module[0](module.original))


def plain_parameters(network: nn.Module) -> dict[str, Tensor]:
    """Return the parameters under their names without `UnitNorm`; the values hold after `renew_weights`."""
    return {name.replace("parametrizations.weight.original", "weight"): p for name, p in network.named_parameters()}


def release_weights(network: nn.Module) -> None:
    """Undo `hold_weights`: the weights stay what they are, as plain parameters."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
