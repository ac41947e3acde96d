"""What a separation cost is counted at the prior: the reported number is what a stand-in prior was asked."""

import pytest
import torch

import basis
from basis.core.noise import Noise
from basis.core.prior import DensityPrior, ScorePrior
from basis.core.problem import Problem
from basis.core.separator import SEPARATORS, Run, choose
from basis.io.presets import table
from basis.posteriors.ddnm import DDNM

SUM = basis.WeightedSum([1.0, 1.0])
LEARNED = {"shape": (1, 4, 4), "kinds": [0, 0]}


class Passed(torch.autograd.Function):
    """x itself; counts examples of which gradients pass back."""

    @staticmethod
    def forward(ctx, x, log):
        ctx.log, ctx.size = log, len(x)
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        ctx.log["backward"] += ctx.size
        return grad, None


class StandIn(ScorePrior):
    """A normal prior over images in [0, 1] that keeps a log of what it is asked."""

    def __init__(self, shape=(1, 4, 4), levels=None):
        super().__init__(shape, data_range=(0.0, 1.0), levels=levels)
        self.log = {"forward": 0, "backward": 0}

    def score(self, x, sigma):
        self.log["forward"] += len(x)
        variance = 0.05 + torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, *[1] * (x.dim() - 1)) ** 2
        return Passed.apply((0.5 - x) / variance, self.log)

    @property
    def asked(self):
        return sum(self.log.values())


class Dense(DensityPrior):
    """The same with its density."""

    def __init__(self):
        super().__init__((1, 4, 4), data_range=(0.0, 1.0))
        self.asked = 0

    def log_prob(self, x, sigma):
        return -0.5 * (x - 0.5).flatten(1).square().sum(1) / (0.05 + sigma**2)

    def score(self, x, sigma):
        self.asked += len(x)
        return (0.5 - x) / (0.05 + sigma**2)


def mixtures(count=3):
    return 2 * torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def ours(prior, mixing, mixture):
    """A posterior as a function, that asks the prior twice."""

    class Twice(DDNM):
        def score(self, x, sigma):
            return (super().score(x, sigma) + super().score(x, sigma)) / 2

    return Twice(prior, mixing, mixture)


SETTINGS = [
    ("basis", {"levels": 3, "steps": 2}),
    ("basis", {"levels": 3, "steps": 2, "sequential": True}),
    ("basis", {"levels": 3, "steps": 2, "denoise": False, "bounded": True}),
    ("sample", {"steps": 4}),
    ("sample", {"steps": 4, "sampler": "heun", "denoise": True}),
    ("sample", {"steps": 4, "sampler": "predictor_corrector", "corrections": 2}),
    ("sample", {"steps": 3, "sampler": "annealed_langevin", "repeats": 2, "sequential": True}),
    ("sample", {"steps": 3, "posterior": "mmps"}),
    ("sample", {"steps": 3, "posterior": "mmps", "iterations": 1}),
    ("sample", {"steps": 3, "posterior": "msdm", "eta": 1.0}),
    ("sample", {"steps": 3, "posterior": ours}),
    ("best_of", {"levels": 2, "steps": 2}),
    ("best_of", {"levels": 2, "steps": 2, "rank": "flow"}),
    ("search", {"steps": 3, "candidates": 4}),
    ("search", {"steps": 3, "candidates": 4, "sampler": "annealed_langevin", "sequential": True}),
    ("search", {"steps": 3, "candidates": 4, "posterior": "mmps", "iterations": 2, "rank": "denoising"}),
    ("search", {"steps": 3, "candidates": 4, "posterior": ours, "rounds": 1, "refine_steps": 2}),
    ("search", {"steps": 3, "candidates": 4, "batch": 4, "rank": "flow"}),
    ("average", {}),
    ("blind", {"components": 2, "iterations": 2}),
]


@pytest.mark.parametrize(("method", "settings"), SETTINGS, ids=lambda part: str(part).partition(" at 0x")[0])
@pytest.mark.parametrize("levels", [None, (1.0, 0.3, 0.1, 0.03)], ids=["any", "discrete"])
def test_the_count_is_what_the_prior_was_asked(method, settings, levels):
    prior = StandIn(levels=levels)
    found = basis.separate(mixtures(), prior, SUM, method, samples=2, batch_size=2, **settings)
    assert found.evaluations.dtype == torch.int64
    assert found.evaluations.shape == (3,)
    assert 2 * found.evaluations.sum() == prior.asked  # two sources, one prior
    assert (prior.asked > 0) == (method not in ("average", "blind"))


@pytest.mark.parametrize("method", ["adversarial", "neural_egg", "nmf", "supervised"])
def test_methods_that_learned_ask_no_prior(method):
    few = {
        "adversarial": {"width": 0.1, "steps": 1, "batch": 2, "search": 1, "refine": 1},
        "neural_egg": {"width": 0.1, "rounds": 1, "epochs": 1, "kinds": [0, 1]},
        "nmf": {"components": 2, "iterations": 2, "sweeps": 2},
        "supervised": {"widths": [8], "steps": 1, "batch": 2},
    }[method]
    shape = (1, 8, 8)
    separator = choose(method, {**LEARNED, "shape": shape, **few})
    images = torch.rand(8, *shape, generator=torch.Generator().manual_seed(0))
    for _ in separator.fit([images] * len(set(separator.kinds))):
        pass
    prior = StandIn(shape)
    found = basis.separate(images[:2] + images[2:4], prior, SUM, separator)
    assert (found.evaluations.tolist(), prior.asked) == ([0, 0], 0)


def test_every_method_of_the_registry_is_here():
    here = {method for method, _ in SETTINGS} | {"adversarial", "neural_egg", "nmf", "supervised"}
    assert here == set(SEPARATORS.names())


def test_by_hand():
    """2 batches of 2 candidates, of 3 levels with 2 sources in turn, each of which asks for both; 6 to rank: 36."""
    settings = {"steps": 3, "candidates": 3, "batch": 3, "sampler": "annealed_langevin", "sequential": True}
    found = basis.separate(mixtures(1), StandIn(), SUM, "search", **settings)
    assert found.evaluations.tolist() == [3 * (3 * 2 + 6)]
    moments = basis.separate(mixtures(1), StandIn(), SUM, "sample", steps=5, posterior="mmps", iterations=4)
    assert moments.evaluations.tolist() == [5 * (1 + 4)]


def test_a_density_and_a_prior_for_each_source():
    dense, plain = Dense(), StandIn()
    found = basis.separate(mixtures(), [dense, plain], SUM, "basis", levels=2, steps=3, denoise=False)
    assert (found.evaluations == 6).all()
    assert (dense.asked, plain.asked) == (3 * 6, 3 * 6)
    ranked = basis.separate(mixtures(), Dense(), SUM, "search", steps=4, candidates=2)
    assert (ranked.evaluations == 2 * (4 + 1)).all()  # a density is one evaluation
    with pytest.raises(basis.UsageError, match="a prior of kind StandIn does not give"):
        basis.separate(mixtures(), StandIn(), SUM, "search", rank="likelihood", steps=2)


def test_searches_that_end_early_count_their_own():
    prior = StandIn()
    found = basis.separate(
        mixtures(6), prior, SUM, "search", steps=3, candidates=8, batch=1, same=0.08, noise_correlation=0.0
    )
    assert 2 * found.evaluations.sum() == prior.asked
    assert len(found.evaluations.unique()) > 1


@pytest.mark.parametrize("budget", [1, 7, 30, 99, 100, 250])
@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4, 4)], ids=str)
@pytest.mark.parametrize("alphas", [(1.0, 1.0), (0.6, 1.4)], ids=str)
def test_budgets_are_kept(budget, shape, alphas):
    prior, mixing = StandIn(shape), basis.WeightedSum(alphas)
    prior.presets = table("photographs") if shape[0] == 3 else None
    mixture = mixing(torch.rand(1, 2, *shape, generator=torch.Generator().manual_seed(0)))
    if shape[0] == 3 and budget < 3:
        with pytest.raises(basis.UsageError, match="takes 3 evaluations"):
            basis.separate(mixture, prior, mixing, budget=budget)
        return
    found = basis.separate(mixture, prior, mixing, budget=budget)
    assert found.evaluations.item() <= budget
    assert prior.asked == 2 * found.evaluations.item()


@pytest.mark.parametrize("setting", [{"steps": 500}, {"rank": "denoising"}, {"sampler": "heun"}, {"iterations": 5}])
def test_a_budget_is_not_set_aside(setting):
    (name,) = setting
    with pytest.raises(basis.UsageError, match=f"a budget chooses {name} itself"):
        basis.separate(mixtures(), StandIn(), SUM, budget=100, **setting)


def test_counting_changes_nothing(edm):
    """Of a prior in the shape of a network the result is to the bit what it is without the meter."""
    mixture = 2 * torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    prior = basis.Product([edm, edm])
    for method, settings in (("basis", {"levels": 2}), ("sample", {"posterior": "mmps"})):
        bare, noise = Problem(mixture, prior, SUM), Noise(prior.shape, 0, [0, 1], 1)
        alone = Run(choose(method, {**settings, "steps": 2}).stream(bare, noise)).result
        assert torch.equal(alone.samples, basis.separate(mixture, edm, SUM, method, steps=2, **settings).samples)
        assert alone.evaluations is None
