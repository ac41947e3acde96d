"""What a separation says of itself: how likely its sources are, and how far its candidates agree."""

import json
import warnings

import numpy as np
import pytest
import torch

import basis
from basis.core.plausibility import surprise
from basis.core.prior import Product, ScorePrior, per_example

SUM = basis.WeightedSum([1.0, 1.0])
FAST = {"method": "fast", "steps": 12}


class Normal(ScorePrior):
    """Independent values from N(m, s²): ``D(x, σ) = (s² x + σ² m) / (s² + σ²)``."""

    def __init__(self, n, mean=0.3, std=0.5):
        super().__init__((n,), data_range=(0.0, 1.0))
        self.mean, self.std = mean, std

    def score(self, x, sigma):
        return (self.mean - x) / (self.std**2 + per_example(sigma, x) ** 2)


@pytest.fixture(scope="module")
def mnist():
    return basis.load_prior("mnist")


def example(name):
    return np.load(basis.example(name))["sources"] / 255


def separated(samples, mixing=SUM):
    """A separation of one mixture with the given samples (n, K, *S), as a separator returns it."""

    class Given(basis.Separator):
        def stream(self, problem, noise):
            yield from ()
            return basis.Separation(samples[None], problem.mixture, problem.mixing, torch.zeros(1, dtype=torch.int64))

    prior = Normal(samples.shape[-1])
    return basis.separate(mixing(samples[:1])[0], prior, mixing, Given()).assessment


# Surprise and calibration


def test_surprise_is_the_error_of_the_denoised_estimate():
    """In closed form ``E ‖D(x + σ ε, σ) - x‖² / (n σ²) = (s⁴ + σ² (m - x)²) / (s² + σ²)²``, here of 10⁵ values."""
    prior, s2 = Normal(100_000), 0.25
    x = torch.tensor([0.3, 1.0])[:, None, None].expand(2, 1, 100_000)
    for number, sigma in enumerate((1.0, 10**-0.5, 0.1)):
        expected = torch.tensor([(s2**2 + sigma**2 * (0.3 - v) ** 2) / (s2 + sigma**2) ** 2 for v in (0.3, 1.0)])
        torch.testing.assert_close(surprise(Product([prior]), x)[:, 0, number], expected, rtol=0.02, atol=0)


def test_surprise_does_not_depend_on_the_units():
    wide = basis.Rescaled(Normal(50), scale=0.5, shift=0.5)  # on [-1, 1]
    x = torch.rand(3, 2, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(surprise(Product([wide] * 2), 2 * x - 1), surprise(Product([Normal(50)] * 2), x))


def test_what_wraps_a_prior_keeps_its_calibration():
    prior = Normal(4)
    prior.calibration = basis.Calibration((0.0, 1.0), {1: (1.0, 1.0, 1.0)})
    for wrapper in (basis.Rescaled(prior, 0.5), basis.Bounded(prior), basis.Accelerated(prior, "no")):
        assert wrapper.calibration is prior.calibration


def test_a_calibrated_prior_knows_its_own_mixtures_from_others():
    """Held-out examples raise no alarm, of any number and weights; what lies beyond the data raises one."""
    generator = torch.Generator().manual_seed(0)
    values = torch.tensor([0.2, 0.8])
    spread = torch.full((2, 16), 1e-3)
    means = values[:, None].expand(2, 16)
    prior = basis.GaussianMixture([1, 1], means, torch.diag_embed(spread))
    prior.data_range = (0.0, 1.0)

    def draw(n):
        kind = torch.randint(2, (n,), generator=generator)
        return (values[kind][:, None] + 1e-3**0.5 * torch.randn(n, 16, generator=generator)).clamp(0, 1)

    prior.calibration = basis.calibrate(prior, draw(60), n=40)
    for weights in ((1.0, 1.0), (0.3, 0.7), (1.0, 1.0, 1.0)):
        mixing = basis.WeightedSum(weights)
        own = mixing(draw(20 * len(weights)).reshape(20, len(weights), 16))
        found = basis.separate(own, prior, mixing, "fast", steps=60).assessment
        assert found.doubtful == []
    ramp = torch.linspace(0, 1, 16)
    with pytest.warns(basis.UnlikelyMixtureWarning, match="mixture 1 of 2: the sources found are"):
        found = basis.separate(torch.stack([own[0] / 3 * 2, 2 * ramp]), prior, SUM, "fast").assessment
    assert found.doubtful == [1]
    alone = draw(300)
    prior.calibration = basis.calibrate(prior, alone, n=1)
    shares = prior.calibration.plausibility(surprise(Product([prior]), draw(300)[:, None]))[:, 0]
    assert abs(shares.mean() - 0.5) < 0.06  # uniform on [0, 1] for the prior's own, by definition
    assert abs(shares.std() - 12**-0.5) < 0.03


def test_a_calibration_is_found_beside_its_weights_alone(tmp_path, edm, arguments):
    known = basis.Calibration((0.0, 1.0, 3.0), {1: (1.0, 2.0, 3.0), 2: (2.0, 3.0, 4.0)})
    folder = basis.save_prior(edm, arguments, tmp_path / "prior")
    assert basis.load_prior(folder).calibration is None
    file = basis.save_calibration(known, folder, {"n": 3})
    assert basis.load_prior(folder).calibration == known
    facts = json.loads(file.read_text())
    assert facts["n"] == 3
    file.write_text(json.dumps({**facts, "sha256": "of other weights"}))
    assert basis.load_prior(folder).calibration is None
    for wrong in ({"quantiles": [1, 0]}, {"limits": {}}, {"limits": {"1": "x"}}, {"quantiles": None}):
        file.write_text(json.dumps({**facts, **wrong}))
        with pytest.raises(basis.DataError, match="calibration"):
            basis.load_prior(folder)


def test_calibrate_says_what_it_needs(edm):
    for call in (
        lambda: basis.calibrate(edm, torch.zeros(3, 1, 8, 8)),
        lambda: basis.calibrate(edm, torch.zeros(5, 1, 8, 9)),
        lambda: basis.calibrate(edm, n=0),
        lambda: basis.calibrate(basis.load_prior("cifar10-colour")),
    ):
        with pytest.raises(basis.UsageError):
            call()


# The warning


def test_ink_on_paper_gets_a_warning_and_its_negative_none(mnist):
    white_on_black = example("two-a").sum(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fine = basis.separate(white_on_black, mnist, SUM, **FAST).assessment
    with pytest.warns(basis.UnlikelyMixtureWarning, match=r"light against dark \(1 - x\)"):
        paper = basis.separate(2 - white_on_black, mnist, SUM, **FAST).assessment
    assert (fine.doubtful, paper.doubtful) == ([], [0])
    assert fine.plausibility.min() > 0.005
    assert paper.plausibility.max() == 0
    assert fine.evaluations == 3


@pytest.mark.parametrize("strange", ["noise", "grey", "stripes"])
def test_what_no_digits_make_gets_a_warning(mnist, strange):
    rows = torch.arange(28)
    mixture = {
        "noise": torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2,
        "grey": torch.ones(1, 28, 28),
        "stripes": 2.0 * (rows // 4 % 2)[None, :, None].expand(1, 28, 28),
    }[strange]
    with pytest.warns(basis.UnlikelyMixtureWarning):
        basis.separate(mixture, mnist, SUM, **FAST)


def test_baselines_that_do_not_ask_the_prior_say_nothing_of_the_mixture(mnist):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = basis.separate(example("two-a").sum(0), mnist, SUM, "average").assessment
    assert found.unlikely is None
    assert found.plausibility.shape == (1, 2)


@pytest.mark.filterwarnings("ignore::basis.UnlikelyMixtureWarning")
def test_the_prior_is_asked_only_where_it_is_wanted(mnist):
    asked = []

    class Counted(ScorePrior):
        calibration = mnist.calibration

        def score(self, x, sigma):
            asked.append(len(x))
            return mnist.score(x, sigma)

    prior, mixture = Counted(mnist.shape, mnist.data_range), example("two-a").sum(0)
    assert basis.separate(mixture, prior, SUM, "fast", steps=2, assess=False).assessment is None
    without, asked[:] = sum(asked), []
    found = basis.separate(mixture, prior, SUM, "fast", steps=2).assessment
    assert sum(asked) - without == 2 * found.evaluations


def test_batches_change_nothing(mnist):
    mixture = np.stack([example("two-a").sum(0), example("two-b").sum(0)])
    whole, parts = (basis.separate(mixture, mnist, SUM, **FAST, batch_size=size).assessment for size in (2, 1))
    torch.testing.assert_close(whole.plausibility, parts.plausibility, rtol=0, atol=1e-3)
    torch.testing.assert_close(whole.spread, parts.spread)


# Agreement and spread


def test_sources_in_another_order_agree():
    samples = torch.tensor([[[0.1], [0.9]], [[0.9], [0.1]], [[0.12], [0.88]]])
    found = separated(samples)
    assert (found.candidates.item(), found.agreement.item()) == (3, 1.0)
    expected = samples[[0, 2]][torch.tensor([0, 0, 1])].std(0, correction=0)  # of 0.1, 0.1 and 0.12
    torch.testing.assert_close(found.spread[0], expected)


def test_sources_that_differ_do_not():
    samples = torch.tensor([[[0.1], [0.9]], [[0.5], [0.5]], [[0.6], [0.4]], [[0.9], [0.1]]])
    found = separated(samples)
    assert (found.candidates.item(), found.agreement.item()) == (4, 0.5)
    ordered = torch.tensor([[[0.1], [0.9]], [[0.5], [0.5]], [[0.4], [0.6]], [[0.1], [0.9]]])
    torch.testing.assert_close(found.spread[0], ordered.std(0, correction=0))


def test_sources_with_weights_of_their_own_keep_their_places():
    samples = torch.tensor([[[0.1], [0.9]], [[0.9], [0.1]]])
    found = separated(samples, basis.WeightedSum([0.4, 0.6]))
    assert found.agreement.item() == 0.5
    torch.testing.assert_close(found.spread[0], torch.full((2, 1), 0.4))


def test_a_single_sample_agrees_with_itself():
    found = separated(torch.tensor([[[0.1], [0.9]]]))
    assert (found.candidates.item(), found.agreement.item(), found.spread.max().item()) == (1, 1.0, 0.0)


def test_a_search_counts_its_candidates():
    """Two answers, 0.4 + 0.6 and, wrongly, 0.5 + 0.5; the spread is that of all candidates in the answer's order."""
    means = torch.tensor([0.2, 0.4, 0.6, 0.8])[:, None]
    prior = basis.GaussianMixture([1] * 4, means, torch.full((4, 1, 1), 1e-5))
    search = basis.Search(candidates=12, batch=12, agree=13, steps=40, same=0.02, parts={"bounded": False})
    found = basis.separate(torch.ones(1), prior, SUM, search)
    counts, told = found.modes[0].counts, found.assessment
    assert (told.candidates.item(), len(counts)) == (12, 2)
    assert told.agreement.item() == pytest.approx(counts[0].item() / 12)
    share = told.agreement.item()
    torch.testing.assert_close(
        told.spread[0], torch.full((2, 1), 0.1 * (share * (1 - share)) ** 0.5), rtol=0, atol=0.01
    )
