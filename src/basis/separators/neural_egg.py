"""Neural Egg Separation: a mask for the source of which samples were seen, learned with or without the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.noise import Noise
from basis.core.problem import Problem
from basis.core.sampler import State
from basis.core.separator import Stream, separation
from basis.core.settings import Count, Positive, Whole
from basis.io.learned import Learned, Learning, pixels
from basis.nn.masker import Masker
from basis.separators._weights import check

BETAS = (0.5, 0.999)
TOGETHER = 500  # mixtures masked at a time while learning


class NeuralEgg(Learned):
    """Masks of one source, M(m) · m, the rest being the other (Halperin et al. 2019).

    "Neural separation of observed and unobserved distributions", ICML 2019.

    For mixtures ``m = b + x`` of a source b of which images are seen and a source x of which none are. It starts from
    ``x̂ = m / 2``; then, ``rounds`` times, the network learns from made mixtures, ``‖M(b + x̂) · (b + x̂) - b‖₁`` with
    b and x̂ paired anew in each of ``epochs`` passes, and ``x̂ = (1 - M(m)) m`` is renewed. With ``supervised=True`` it
    learns from true pairs, b + x, as many passes: the bound of that paper, and the row "NES" of Table 2.

    The first kind of images is b. The second makes mixtures, of which x itself is only used if supervised. Weights are
    those of the sources as mixed: b stands for α₁ b, x for α₂ x. It is for K = 2, and for one pair of weights.

    Unlike the authors' release, whose network never leaves training mode so that a result depends on its batch, it
    separates with the running statistics of batch norm.

    Args:
        shape, kinds: see `Learned`; kinds must be (0, 1).
        alphas: the two weights of the mixtures, positive; 1 by default.
        supervised: whether to learn from true pairs.
        width: factor on the network's channels, see `basis.nn.masker.Masker`.
        images: the most images of b, as well as mixtures, that are used; images in mixtures are not among those of b.
        rounds, epochs, batch: renewals of x̂, passes over the data in each, mixtures a step.
        learning_rate: Adam's, which starts anew in each round; it falls linearly to zero over all if supervised.
        project: whether to bring both sources into the prior's data range, where they still mix to m; the published
            method leaves ``(1 - M) m`` as it is.
        seed: fixes initial weights and pairs.

    Raises:
        UsageError: kinds other than (0, 1), weights that are not positive; separating another mixing.

    Example:
        >>> images = [torch.rand(20, 1, 8, 8), torch.rand(20, 1, 8, 8)]
        >>> method = NeuralEgg((1, 8, 8), width=0.1, rounds=2, epochs=3, batch=5)
        >>> [progress.step for progress in method.fit(images)]
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    """

    images_only = True

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        kinds: Sequence[int] = (0, 1),
        alphas: Sequence[float] | None = None,
        supervised: bool = False,
        width: Positive = 1.0,
        images: Count = 5_000,
        rounds: Count = 10,
        epochs: Count = 25,
        batch: Count = 32,
        learning_rate: Positive = 1e-3,
        project: bool = False,
        seed: Whole = 0,
    ) -> None:
        super().__init__(shape, kinds)
        if self.kinds != (0, 1):
            raise UsageError(
                f"neural_egg separates a seen kind of source from an unseen one, got kinds {list(kinds)}",
                fix="fit it with --task split and two sources",
            )
        self.alphas = tuple(alphas or (1.0, 1.0))
        if len(self.alphas) != 2 or not min(self.alphas) > 0:
            raise UsageError(f"expected two positive weights, got {list(self.alphas)}", fix="for instance [0.5, 0.5]")
        self.supervised, self.images, self.rounds, self.epochs = supervised, images, rounds, epochs
        self.batch, self.learning_rate, self.project, self.seed = batch, learning_rate, project, seed
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.network = Masker(self.shape, width)
        self.eval()

    def learn(self, images: Sequence[Tensor]) -> Iterator[Learning]:
        """Make mixtures of the second half of b's images and all of x's, and learn from the first half and them."""
        half = len(images[0]) // 2
        rng = np.random.default_rng(self.seed)
        b, others, x = (
            self.alphas[k] * pixels(some[rng.permutation(len(some))[: self.images]])
            for k, some in ((0, images[0][:half]), (0, images[0][half:]), (1, images[1]))
        )
        if self.supervised:
            seen = torch.cat([b, others])
            yield from self._learn(seen, x, rng, self.rounds * self.epochs, 0, decay=True)
            return
        count = min(len(others), len(x))
        m = others[:count] + x[:count]
        x = m / 2
        for number in range(self.rounds):
            yield from self._learn(b, x, rng, self.epochs, number)
            self.eval()
            x = torch.cat([part - self._masked(part) for part in m.split(TOGETHER)])
            self.train()

    def _learn(
        self, b: Tensor, x: Tensor, rng: np.random.Generator, epochs: int, number: int, decay: bool = False
    ) -> Iterator[Learning]:
        """Learn from made mixtures b + x, paired anew each epoch, a pass being over the larger set; loss in L1."""
        adam = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate, betas=BETAS)
        each = max(1, max(len(b), len(x)) // self.batch)
        steps = each * epochs
        for step in range(steps):
            if step % each == 0:
                pairs = [_order(len(some), each * self.batch, rng) for some in (b, x)]
            if decay:
                adam.param_groups[0]["lr"] = self.learning_rate * (1 - step / steps)
            part = slice(step % each * self.batch, (step % each + 1) * self.batch)
            b_part = b[pairs[0][part]].to(self.learned.device)
            y = b_part + x[pairs[1][part]].to(b_part)
            loss = (self.network(y) * y - b_part).abs().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            yield Learning(number * steps + step + 1, steps * (1 if decay else self.rounds), loss.item())

    @torch.no_grad()
    def _masked(self, m: Tensor) -> Tensor:
        """Return what the network takes for b in mixtures m, (B, *S)."""
        return (self.network(m.to(self.learned.device)) * m.to(self.learned.device)).to(m)

    def find(self, problem: Problem, noise: Noise) -> Stream:
        check(problem, "neural_egg", self.alphas)
        m = problem.mixture
        b = self._masked(m)
        x = torch.stack([b / self.alphas[0], (m - b) / self.alphas[1]], 1)
        x = problem.mixing.project(x, m, problem.prior.data_range) if self.project else x
        x = x.repeat_interleave(noise.samples, 0)
        yield State(x, sigma=0.0, level=1, levels=1, step=1, steps=1)
        return separation(problem, x)


def _order(count: int, length: int, rng: np.random.Generator) -> Tensor:
    """Return a random order of ``count`` things, (length,), repeated with new orders where that is longer."""
    orders = [rng.permutation(count) for _ in range(-(-length // count))]
    return torch.from_numpy(np.concatenate(orders)[:length])
