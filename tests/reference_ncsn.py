"""NCSN and NCSNv2 written a second time, straight from the papers and from the facts about the released files.

Functions on a state dict with plain PyTorch calls in NCHW, kept apart from `basis.nn.refinenet` so that each
checks the other. The benchmark takes it as the straightforward implementation.
"""

import torch
import torch.nn.functional as F

SIZES = {"res1": (1, 1), "res2": (1, 1), "res3": (2, 2), "res4": (4, 4)}  # dilations of the two blocks of each stage


class Reference:
    """The score network of a state dict without the prefix `module.`; ``label`` is None for NCSNv2."""

    def __init__(self, state):
        self.state = state
        self.conditional = "normalizer.embed.weight" in state

    def conv(self, key, x, dilation=1):
        weight = self.state[f"{key}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(x, weight, self.state.get(f"{key}.bias"), padding=padding, dilation=dilation)

    def norm(self, key, x, label):
        if f"{key}.embed.weight" in self.state:
            table = F.embedding(label.expand(len(x)), self.state[f"{key}.embed.weight"])
            gamma, alpha, beta = (part[:, :, None, None] for part in table.chunk(3, dim=1))
        elif f"{key}.gamma" in self.state:
            gamma, alpha, beta = (
                self.state[f"{key}.{name}"][None, :, None, None] for name in ("gamma", "alpha", "beta")
            )
        else:
            return x
        means = x.mean(dim=(2, 3))
        centre, variance = means.mean(dim=1, keepdim=True), means.var(dim=1, unbiased=True, keepdim=True)
        means = (means - centre) / torch.sqrt(variance + 1e-5)
        return gamma * (F.instance_norm(x, eps=1e-5) + alpha * means[:, :, None, None]) + beta

    def pooled(self, key, x):
        y = self.conv(key, x)
        return (y[:, :, 0::2, 0::2] + y[:, :, 1::2, 0::2] + y[:, :, 0::2, 1::2] + y[:, :, 1::2, 1::2]) / 4

    def block(self, key, x, label, dilation):
        y = self.conv(f"{key}.conv1", F.elu(self.norm(f"{key}.normalize1", x, label)), dilation)
        y = F.elu(self.norm(f"{key}.normalize2", y, label))
        if f"{key}.conv2.conv.weight" in self.state:
            return self.pooled(f"{key}.conv2.conv", y) + self.pooled(f"{key}.shortcut.conv", x)
        y = self.conv(f"{key}.conv2", y, dilation)
        return y + (self.conv(f"{key}.shortcut", x, dilation) if f"{key}.shortcut.weight" in self.state else x)

    def units(self, key, x, label, blocks):
        for i in range(1, blocks + 1):
            y = x
            for j in (1, 2):
                y = F.elu(self.norm(f"{key}.{i}_{j}_norm", y, label))
                y = self.conv(f"{key}.{i}_{j}_conv", y)
            x = x + y
        return x

    def refine(self, key, xs, label, blocks=1):
        xs = [self.units(f"{key}.adapt_convs.{i}", x, label, 2) for i, x in enumerate(xs)]
        if len(xs) == 1:
            (x,) = xs
        else:
            size = xs[0].shape[2:]
            ys = [
                self.conv(f"{key}.msf.convs.{i}", self.norm(f"{key}.msf.norms.{i}", x, label)) for i, x in enumerate(xs)
            ]
            x = sum(F.interpolate(y, size=size, mode="bilinear", align_corners=True) for y in ys)
        x = path = F.elu(x)
        for i in (0, 1):
            path = self.norm(f"{key}.crp.norms.{i}", path, label)
            path = F.avg_pool2d(path, 5, 1, 2) if self.conditional else F.max_pool2d(path, 5, 1, 2)
            path = self.conv(f"{key}.crp.convs.{i}", path)
            x = x + path
        return self.units(f"{key}.output_convs", x, label, blocks)

    def __call__(self, x, label=None):
        """Return the network's output for x (B, C, H, W) in [0, 1] and label (1,) or (B,)."""
        x = self.conv("begin_conv", 2 * x - 1)
        outputs = []
        for stage, dilations in SIZES.items():
            for i, dilation in enumerate(dilations):
                x = self.block(f"{stage}.{i}", x, label, dilation)
            outputs.append(x)
        y = self.refine("refine1", [outputs[3]], label)
        y = self.refine("refine2", [outputs[2], y], label)
        y = self.refine("refine3", [outputs[1], y], label)
        y = self.refine("refine4", [outputs[0], y], label, blocks=3)
        return self.conv("end_conv", F.elu(self.norm("normalizer", y, label)))


def random_state(network, seed=0, scale=1.0):
    """Return a state dict in which no parameter has its initial value: norms that differ from level to level."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in network.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        state[name] = value + (0.3 * scale * noise if value.dim() < 4 else 0.02 * noise)
    return state
