"""Separation with GAN priors: latent codes whose images mix to the mixture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from basis.core.mixing import Mixing
from basis.core.noise import Noise
from basis.core.problem import Problem
from basis.core.sampler import State
from basis.core.separator import Stream, separation
from basis.core.settings import Count, Positive, Whole
from basis.io.learned import Learned, Learning, draw
from basis.nn.dcgan import Critic, Generator

BETAS = (0.5, 0.9)  # Adam's, of the GAN; 0.0 and 0.9 in Gulrajani et al. 2017
PENALTY = 10.0  # weight of the gradient penalty (Gulrajani et al. 2017)
SHOWN = 50  # steps between two states
CODES = 1e-3  # weight of the mean squared code (release of Kong et al. 2019)


class Adversarial(Learned):
    """Sources from generators, found by their latent codes: "S-D" (Kong et al. 2019; Subakan & Smaragdis 2018).

    A generator G for each kind of source is learned as a Wasserstein GAN with gradient penalty (Gulrajani et al. 2017):
    the critic D minimises ``E D(G(z)) - E D(x) + 10 E (‖∇D(x̃)‖ - 1)²``, x̃ uniform between x and G(z), and G maximises
    ``E D(G(z))``. To separate, ``mean (m - g(G(z)))² + 1e-3 Σ_k mean z_k²`` is minimised over z by Adam, from
    ``restarts`` starts z ~ N(0, I); the start that fits the mixture best after ``search`` steps goes on for ``refine``
    more with a new Adam. Any mixing, and with sources of one kind any K, without another fit.

    The published one has width 1, 10,000 cross-entropy steps of batch 128, 32 restarts, search 201 and refine 5,001.
    Mixtures are solved one at a time, so that a result does not depend on the batch, which optimisation would amplify.

    Args:
        shape, kinds: see `Learned`.
        width: factor on the channels of `basis.nn.dcgan`.
        latent: length of a code.
        steps, batch, critic_steps: generator steps for each kind, images a step, critic steps for each of those.
        gan_rate: Adam's learning rate of the GAN.
        restarts, search, refine: as above.
        learning_rate: Adam's for the codes; it falls linearly to zero while refining.
        project: whether to move the result onto the mixture; the published one does not.
        seed: fixes initial weights and data.

    Raises:
        UsageError: restarts, search or refine below 1.

    Example:
        >>> images = [torch.rand(20, 1, 8, 8)]
        >>> method = Adversarial((1, 8, 8), width=0.1, steps=3, batch=5)
        >>> [progress.step for progress in method.fit(images)]
        [1, 2, 3]
    """

    images_only = True

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        kinds: Sequence[int] = (0, 0),
        width: Positive = 0.25,
        latent: Count = 100,
        steps: Count = 3_000,
        batch: Count = 64,
        critic_steps: Count = 5,
        gan_rate: Positive = 1e-3,
        restarts: Count = 8,
        search: Count = 200,
        refine: Count = 500,
        learning_rate: Positive = 0.05,
        project: bool = False,
        seed: Whole = 0,
    ) -> None:
        super().__init__(shape, kinds)
        self.width, self.latent, self.steps, self.batch, self.critic_steps = width, latent, steps, batch, critic_steps
        self.gan_rate, self.restarts, self.search, self.refine = gan_rate, restarts, search, refine
        self.learning_rate, self.project, self.seed = learning_rate, project, seed
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.generators = nn.ModuleList(Generator(self.shape, latent, width) for _ in set(kinds))
        self.eval()

    def learn(self, images: Sequence[Tensor]) -> Iterator[Learning]:
        """Learn one generator after another; the loss is the critic's estimate of the Wasserstein distance."""
        for kind, generator in enumerate(self.generators):
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self.seed + 1)
                critic = Critic(self.shape, self.width).to(self.learned.device)
            players = [
                torch.optim.Adam(player.parameters(), self.gan_rate, BETAS, fused=True)
                for player in (generator, critic)
            ]
            rng = torch.Generator().manual_seed(self.seed)
            for step in range(self.steps):
                for adam in players:
                    adam.param_groups[0]["lr"] = self.gan_rate * (1 - step / self.steps)
                for i in range(self.critic_steps):
                    real = draw(images, [kind], self.batch, (self.seed, kind, step, i))[:, 0].to(self.learned.device)
                    with torch.no_grad():
                        made = generator(self._codes(rng))
                    loss, distance = _critic_loss(critic, real, made, torch.rand(self.batch, 1, 1, 1, generator=rng))
                    _step(players[1], loss)
                _step(players[0], -critic(generator(self._codes(rng))).mean())
                yield Learning(kind * self.steps + step + 1, self.steps * len(self.generators), distance)

    def _codes(self, rng: torch.Generator) -> Tensor:
        return torch.randn(self.batch, self.latent, generator=rng).to(self.learned.device)

    def find(self, problem: Problem, noise: Noise) -> Stream:
        sources = problem.prior.shape[0]
        # The starts of each (mixture, sample), (B · n, restarts, K, latent).
        starts = noise.shaped((self.restarts, sources, self.latent)).normal()
        m = problem.mixture.repeat_interleave(noise.samples, 0)
        x = torch.zeros(len(m), *problem.prior.shape).to(m)
        each = self.search + self.refine
        for i in range(len(m)):
            for number, z in enumerate(self._descend(starts[i], m[i : i + 1], problem.mixing), 1):
                if number % SHOWN == 0 or number == each:
                    with torch.no_grad():
                        x[i] = self.images(z[:1])[0]
                    yield State(x.clone(), sigma=0.0, level=1, levels=1, step=i * each + number, steps=len(m) * each)
        return separation(problem, problem.mixing.project(x, m, problem.prior.data_range) if self.project else x)

    def images(self, z: Tensor) -> Tensor:
        """Return the sources G(z), (B, K, *S), of codes z, (B, K, latent)."""
        kinds = self.kinds if len(self.generators) > 1 else (0,) * z.shape[1]
        return torch.stack([self.generators[kind](z[:, k]) for k, kind in enumerate(kinds)], 1)

    def _descend(self, z: Tensor, m: Tensor, mixing: Mixing) -> Iterator[Tensor]:
        """Yield the codes (n, K, latent) of one mixture m (1, *M) after each step: of all starts, then of the best."""
        for steps, decay in ((self.search, False), (self.refine, True)):
            z = z.detach().requires_grad_()
            adam = torch.optim.Adam([z], lr=self.learning_rate)
            for step in range(steps):
                if decay:
                    adam.param_groups[0]["lr"] = self.learning_rate * (1 - step / steps)
                with torch.enable_grad():
                    error = mixing.residual(self.images(z), m).square().flatten(1).mean(1)
                    loss = error + CODES * z.square().mean(2).sum(1)
                    _step(adam, loss.sum())
                yield z.detach()
            with torch.no_grad():
                error = mixing.residual(self.images(z), m).square().flatten(1).mean(1)
            z = z[error.argmin()][None]


def _critic_loss(critic: nn.Module, real: Tensor, made: Tensor, t: Tensor) -> tuple[Tensor, float]:
    """Return the critic's loss, and its estimate of the distance ``E D(x) - E D(G(z))``."""
    between = torch.lerp(made, real, t.to(real)).requires_grad_()
    slope = torch.autograd.grad(critic(between).sum(), between, create_graph=True)[0].flatten(1).norm(dim=1)
    distance = critic(real).mean() - critic(made).mean()
    return PENALTY * (slope - 1).square().mean() - distance, distance.item()


def _step(adam: torch.optim.Optimizer, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()
