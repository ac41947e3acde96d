"""best_of: which sample is kept, that splitting changes nothing, and what is refused."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from typer.testing import CliRunner

import basis
from basis.cli import app
from basis.core.problem import Problem
from basis.core.separator import SEPARATORS, Separator, separation
from basis.separators._ranking import LEVELS, denoising, likelihood
from basis.separators.average import Average
from basis.separators.best_of import BestOf

SUM = basis.WeightedSum([1.0, 1.0])
QUICK = {"levels": 3, "steps": 5}


@pytest.fixture
def digits():
    """Two kinds of image around known means, the second much rarer."""
    means = torch.tensor([[[[0.1, 0.9]]], [[[0.8, 0.2]]]])
    return basis.GaussianMixture([0.95, 0.05], means, 0.002 * torch.eye(2).expand(2, 2, 2))


class Fixed(Separator):
    """Returns the candidates it was given, (n, K, *S), for every mixture."""

    def __init__(self, candidates):
        self.candidates = candidates

    def stream(self, problem, noise):
        yield from ()
        noise.normal()
        rows = self.candidates[: noise.samples].repeat(len(problem.mixture), 1, *[1] * (self.candidates.dim() - 2))
        return separation(problem, rows)


def test_the_candidate_like_the_truth_is_kept(digits):
    a, b = torch.tensor([[[0.1, 0.9]]]), torch.tensor([[[0.8, 0.2]]])
    # All add up to the same mixture; only the second pair consists of two likely images.
    candidates = torch.stack(
        [torch.stack([a + d, b - d]) for d in (0.3 * torch.ones(1, 1, 2), 0.01, torch.tensor(-0.2))]
    )
    mixture = (a + b)[None].expand(2, 1, 1, 2)
    found = basis.separate(mixture, digits, SUM, BestOf(Fixed(candidates)), samples=3)
    assert found.choice.tolist() == [1, 1]
    torch.testing.assert_close(found.sources[0], candidates[1])
    assert found.samples.shape == (2, 3, 2, 1, 1, 2)
    by_hand = torch.stack([digits.log_prob(pair, 0.01).sum() for pair in candidates])
    torch.testing.assert_close(found.scores, by_hand.expand(2, 3))


def test_scores_belong_to_the_samples(digits):
    mixture = torch.rand(3, 1, 1, 2, generator=torch.Generator().manual_seed(0)) + 0.5
    found = basis.separate(mixture, digits, SUM, "best_of", samples=4, **QUICK)
    for b in range(3):
        for j in range(4):
            torch.testing.assert_close(found.scores[b, j], digits.log_prob(found.samples[b, j], 0.01).sum())
        assert found.scores[b, found.choice[b]] == found.scores[b].max()
    plain = basis.separate(mixture, digits, SUM, "basis", samples=4, **QUICK)
    assert torch.equal(found.samples, plain.samples)  # only the choice differs
    assert plain.scores is None


def test_more_samples_are_likelier(digits):
    mixture = torch.rand(20, 1, 1, 2, generator=torch.Generator().manual_seed(0)) + 0.5
    best = [basis.separate(mixture, digits, SUM, "best_of", samples=n, **QUICK).scores.amax(1) for n in (1, 5)]
    assert (best[1] >= best[0] - 1e-4).all()
    assert best[1].mean() > best[0].mean() + 1


def test_the_smallest_level_and_others(digits):
    x = torch.rand(4, 2, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    product = basis.Product([digits, digits])
    expected = digits.log_prob(x[:, 0], 0.01) + digits.log_prob(x[:, 1], 0.01)
    torch.testing.assert_close(likelihood(product, x), expected)
    product.levels = (1.0, 0.2)
    torch.testing.assert_close(
        likelihood(product, x), digits.log_prob(x.flatten(0, 1), 0.2).unflatten(0, (4, 2)).sum(1)
    )
    other = basis.GaussianMixture([1.0], [[[[0.5, 0.5]]]], 0.1 * torch.eye(2)[None])
    expected = digits.log_prob(x[:, 0], 0.3) + other.log_prob(x[:, 1], 0.3)
    torch.testing.assert_close(likelihood(basis.Product([digits, other]), x, 0.3), expected)


@pytest.mark.parametrize("most", [1, 2, 3, 5, 6, 7, 100])
def test_parts_change_nothing(digits, most):
    mixture = torch.rand(3, 1, 1, 2, generator=torch.Generator().manual_seed(0)) + 0.5
    whole = basis.separate(mixture, digits, SUM, "best_of", samples=5, **QUICK)
    run = basis.stream(mixture, digits, SUM, "best_of", samples=5, most=most, **QUICK)
    states = list(run)
    assert [state.step for state in states] == list(range(1, states[-1].steps + 1))
    assert max(len(state.x) for state in states) <= max(most, 3)
    torch.testing.assert_close(run.result.samples, whole.samples, rtol=0, atol=1e-6)
    assert torch.equal(run.result.choice, whole.choice)


class Small(Separator):
    """A method with room for a few samples, which notices only after some steps."""

    def __init__(self, room, error):
        self.inner, self.room, self.error, self.sizes = basis.BASIS(**QUICK), room, error, []

    def stream(self, problem: Problem, noise):
        self.sizes.append(len(noise.streams))
        stream = self.inner.stream(problem, noise)
        yield next(stream)
        if len(noise.streams) > self.room:
            raise self.error
        return (yield from stream)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_memory_that_does_not_suffice(digits, error):
    mixture = torch.rand(2, 1, 1, 2, generator=torch.Generator().manual_seed(0)) + 0.5
    small = Small(4, error)
    found = basis.separate(mixture, digits, SUM, BestOf(small), samples=6)
    assert small.sizes == [12, 6, 4, 4, 4]
    whole = basis.separate(mixture, digits, SUM, "best_of", samples=6, **QUICK)
    torch.testing.assert_close(found.samples, whole.samples, rtol=0, atol=1e-6)
    with pytest.raises(basis.UsageError, match=r"one sample of 2 mixtures does not fit.*batch_size"):
        basis.separate(mixture, digits, SUM, BestOf(Small(1, error)), samples=6)


def test_other_errors_pass(digits):
    with pytest.raises(RuntimeError, match="something else"):
        basis.separate(torch.ones(1, 1, 2), digits, SUM, BestOf(Small(0, RuntimeError("something else"))), samples=2)


def test_batches_keep_the_scores(digits):
    mixture = torch.rand(3, 1, 1, 2, generator=torch.Generator().manual_seed(0)) + 0.5
    whole = basis.separate(mixture, digits, SUM, "best_of", samples=2, **QUICK)
    parts = basis.separate(mixture, digits, SUM, "best_of", samples=2, batch_size=2, **QUICK)
    torch.testing.assert_close(parts.scores, whole.scores, rtol=1e-5, atol=1e-3)


def test_another_rank(digits, edm):
    mixture = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def smooth(prior, x, sigma):
        return -x.diff(dim=-1).square().sum((1, 2, 3, 4))

    found = basis.separate(mixture, edm, SUM, BestOf("basis", rank=smooth, parts={"levels": 1, "steps": 2}), samples=3)
    assert (
        found.choice.tolist() == smooth(None, found.samples.flatten(0, 1), None).unflatten(0, (2, 3)).argmax(1).tolist()
    )


def test_priors_without_a_density_are_ranked_by_denoising(edm):
    mixture = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = basis.separate(mixture, edm, SUM, "best_of", samples=3, levels=1, steps=2)
    product = basis.Product([edm, edm])
    torch.testing.assert_close(found.scores, denoising(product, found.samples.flatten(0, 1)).unflatten(0, (2, 3)))
    assert torch.equal(found.choice, found.scores.argmax(1))
    one = basis.separate(mixture[1:], edm, SUM, "best_of", samples=3, index=[1], most=2, levels=1, steps=2)
    torch.testing.assert_close(one.scores, found.scores[1:], rtol=1e-4, atol=1e-4)
    with pytest.raises(basis.UsageError, match=r"a prior of kind EDM does not give.*denoising"):
        basis.separate(mixture, edm, SUM, "best_of", samples=2, rank="likelihood", levels=1, steps=2)
    with pytest.raises(basis.UsageError, match=r"unknown rank 'denoise'.*did you mean denoising"):
        BestOf(rank="denoise")


class Level(basis.ScorePrior):
    """All mass at one image c: D(x, σ) = c whatever x."""

    def __init__(self, c, levels=None):
        super().__init__(c.shape, levels=levels)
        self.c = c

    def score(self, x, sigma):
        return (self.c - x) / sigma**2


def test_the_denoising_loss_by_hand():
    c = torch.tensor([0.2, 0.7, 0.4])
    x = torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(0))
    distance = (x - c).square().sum((1, 2))
    ratio = 20 ** (1 / 5)
    np.testing.assert_allclose(LEVELS, [ratio**-i for i in range(6)], rtol=1e-6)
    expected = -np.log(ratio) * distance * sum(ratio ** (2 * i) for i in range(6))
    torch.testing.assert_close(denoising(basis.Product([Level(c)] * 2), x), expected.float(), rtol=1e-4, atol=1e-3)
    few = basis.Product([Level(c, (2.0, 1.0, 0.5, 0.01))] * 2)
    expected = -np.log(20) * distance * (1 + 4 + 1e4)  # the nearest of the prior's levels, over the same range of ln σ
    torch.testing.assert_close(denoising(few, x), expected / 2, rtol=1e-3, atol=1e-3)


def test_the_denoising_rank_does_not_tell_sources_apart(edm):
    x = torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    product = basis.Product([edm, edm])
    torch.testing.assert_close(denoising(product, x), denoising(product, x.flip(1)), rtol=1e-5, atol=1e-4)


def test_the_denoising_rank_agrees_with_posterior_odds():
    # Eight images of 16 pixels with standard deviation 0.1 around each, well within the levels 0.05 to 1. Candidates
    # of a mixture meet it exactly: x, m - x, with x near each of the images; their odds are those of p(x) p(m - x).
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(8, 16, generator=generator)
    prior = basis.GaussianMixture(torch.ones(8), means, 0.01 * torch.eye(16).expand(8, 16, 16))
    product, correlations, regret = basis.Product([prior, prior]), [], []
    for i in range(8):
        m = means[i] + means[(3 * i + 1) % 8] + 0.14 * torch.randn(16, generator=generator)
        x = means.repeat(3, 1) + 0.1 * torch.randn(24, 16, generator=generator)
        stacks = torch.stack([x, m - x], 1)
        odds, found = likelihood(product, stacks, 0.0), denoising(product, stacks)
        correlations.append(spearmanr(odds, found).statistic)
        regret.append((odds.max() - odds[found.argmax()]).item())
    assert min(correlations) >= 0.95
    assert np.mean(regret) < 2


def test_settings_reach_the_inner_method(digits):
    assert SEPARATORS.get("best_of") is BestOf
    found = BestOf.configured({"steps": 7, "ratio": 0.5})
    assert (found.method.sampler.repeats, found.method.ratio) == (7, 0.5)
    assert isinstance(BestOf("average").method, Average)
    with pytest.raises(basis.UsageError, match=r"unknown setting of method 'best_of': 'step'.*did you mean.* steps"):
        basis.separate(torch.ones(1, 1, 2), digits, SUM, "best_of", step=3)
    with pytest.raises(basis.UsageError, match="unknown method 'bassis'"):
        BestOf("bassis")
    with pytest.raises(basis.UsageError, match="'most' of BestOf takes a whole number"):
        BestOf(most=0)


def test_on_the_command_line(digits, tmp_path):
    arguments = {"shape": [1, 28, 28], "levels": [1.0, 0.1], "scales": 1, "depth": 1, "width": 4}
    folder = basis.save_prior(basis.Glow(**arguments), arguments, tmp_path / "prior")
    mixture = tmp_path / "mixture.npy"
    np.save(mixture, np.full((1, 28, 28), 0.8, np.float32))
    command = ["separate", str(mixture), "--prior", str(folder), "--method", "best_of", "--out", str(tmp_path / "out")]
    run = CliRunner().invoke(app, [*command, "--samples", "3", "--steps", "1"])
    assert run.exit_code == 0, run.output
    scores = json.loads((tmp_path / "out" / "mixture" / "result.json").read_text())["scores"]
    assert len(scores) == 3
    run = CliRunner().invoke(app, [*command, "--set", "samples=3"])
    assert isinstance(run.exception, basis.UsageError) or run.exit_code != 0
    assert "give --samples 3" in str(run.exception) + run.output


def test_the_mean_of_the_likeliest_mode(digits):
    """Samples alike up to ``same``, whatever the order of their sources, are averaged in the place of the likeliest."""
    mixture = torch.rand(4, 1, 1, 2, generator=torch.Generator().manual_seed(0)) + 0.5
    plain = basis.separate(mixture, digits, SUM, "best_of", samples=8, **QUICK)
    found = basis.separate(mixture, digits, SUM, "best_of", samples=8, mean=True, same=0.2, **QUICK)
    assert torch.equal(found.choice, plain.choice)
    moved = 0
    for b, best in enumerate(plain.choice):
        leader, group = plain.samples[b, best], []
        for x in plain.samples[b]:
            nearest = min((x, x.flip(0)), key=lambda y: (y - leader).square().sum())
            if (nearest - leader).square().mean().sqrt() <= 0.2:
                group.append(nearest)
        torch.testing.assert_close(found.sources[b], torch.stack(group).mean(0), rtol=0, atol=1e-5)
        others = [j for j in range(8) if j != best]
        assert torch.equal(found.samples[b, others], plain.samples[b, others])
        moved += len(group) > 1
    assert moved
    assert found.residual.max() < 1e-10
    with pytest.raises(basis.UsageError, match="'same' of BestOf takes"):
        BestOf(same=-1.0)
