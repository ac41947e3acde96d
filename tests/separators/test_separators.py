"""Separators and the two public functions: what changes a result, what must not, and what is refused."""

import functools
import inspect
import itertools
import math

import numpy as np
import pytest
import torch

import basis
from basis.core.separator import SEPARATORS, choose
from basis.io.learned import Learned

FEW = {"levels": 3, "steps": 20}
# Settings that make a method fast; its defaults where it is not named.
QUICK = {"basis": FEW, "best_of": FEW, "sample": {"steps": 8}, "search": {"steps": 8, "candidates": 3}}
SUM = basis.WeightedSum([1.0, 0.5])
# Settings of a quick fit to 2×2 images of methods that learn.
FIT = {
    "nmf": {"components": 2},
    "supervised": {"alphas": SUM.alphas, "widths": [8, 8], "steps": 2},
    "neural_egg": {"alphas": SUM.alphas, "kinds": [0, 1], "width": 0.1, "rounds": 1, "epochs": 1},
    "adversarial": {"width": 0.05, "latent": 4, "steps": 2, "restarts": 2, "search": 4, "refine": 4},
}
EXACTLY = {"rtol": 0, "atol": 1e-6}


@pytest.fixture
def mixtures():
    return 0.5 + torch.rand(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=SEPARATORS.names())
def method(request):
    return request.param


@functools.cache
def fitted(method):
    """Return a method that learns, hardly fitted to noise."""
    separator = choose(method, {"shape": (1, 2, 2), **FIT[method]})
    images = torch.rand(2, 70, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    for _ in separator.fit(images[: len(set(separator.kinds))]):
        pass
    return separator


def separate(mixture, prior, method, mixing=SUM, **keywords):
    ready = fitted(method) if issubclass(SEPARATORS.get(method), Learned) else method
    return basis.separate(mixture, prior, mixing, ready, **QUICK.get(method, {}), **keywords)


def is_random(method, prior, mixtures):
    one, two = (separate(mixtures, prior, method, seed=seed).samples for seed in (0, 1))
    return not torch.equal(one, two)


def test_batch_size_changes_nothing(method, mixtures, gaussian):
    whole = separate(mixtures, gaussian, method, samples=2)
    for size in (1, 2, 5, 99):
        parts = separate(mixtures, gaussian, method, samples=2, batch_size=size)
        torch.testing.assert_close(parts.samples, whole.samples, **EXACTLY)
        assert torch.equal(parts.choice, whole.choice)
        assert torch.equal(parts.mixture, mixtures)


def test_order_and_subset_change_nothing(method, mixtures, gaussian):
    whole = separate(mixtures, gaussian, method, samples=2)
    for pick in ([4, 2, 0, 1, 3], [3, 1], [2]):
        part = separate(mixtures[pick], gaussian, method, samples=2, index=pick)
        torch.testing.assert_close(part.samples, whole.samples[pick], **EXACTLY)


def test_more_samples_keep_the_first(method, mixtures, gaussian):
    three = separate(mixtures, gaussian, method, samples=3).samples
    torch.testing.assert_close(separate(mixtures, gaussian, method).samples[:, 0], three[:, 0], **EXACTLY)


def test_network_priors_are_reproducible_too(edm):
    mixture = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    whole = separate(mixture, edm, "basis")
    parts = separate(mixture[[2, 0, 1]], edm, "basis", index=[2, 0, 1], batch_size=2)
    torch.testing.assert_close(parts.samples, whole.samples[[2, 0, 1]], rtol=0, atol=1e-4)


def test_seed_index_and_sample_change_the_draw(mixtures, gaussian):
    same = mixtures[:1].expand(2, -1, -1, -1)
    found = separate(same, gaussian, "basis", samples=2).samples
    draws = [*found.flatten(0, 1), separate(same[:1], gaussian, "basis", seed=1).samples[0, 0]]
    for i, one in enumerate(draws):
        for two in draws[:i]:
            assert (one - two).abs().max() > 0.01
    assert is_random("basis", gaussian, mixtures)
    assert not is_random("average", gaussian, mixtures)


def test_the_result_fits_together(method, mixtures, gaussian):
    found = separate(mixtures, gaussian, method, samples=3)
    assert found.samples.shape == (5, 3, 2, 1, 2, 2)
    for b in range(5):
        torch.testing.assert_close(found.sources[b], found.samples[b, found.choice[b]])
    remix = found.sources[:, 0] + 0.5 * found.sources[:, 1]
    torch.testing.assert_close(found.remix, remix)
    torch.testing.assert_close(found.residual, (mixtures - remix).square().mean((1, 2, 3)))


def test_one_mixture_needs_no_batch_and_numpy_will_do(method, mixtures, gaussian):
    batched = separate(mixtures[:1], gaussian, method).samples
    for alone in (mixtures[0], mixtures[0].numpy(), mixtures[0].double()):
        assert torch.equal(separate(alone, gaussian, method).samples, batched)


def test_inputs_are_left_alone(method, mixtures, gaussian):
    before, state = mixtures.clone(), torch.random.get_rng_state()
    separate(mixtures, gaussian, method)
    assert torch.equal(mixtures, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_stream_is_the_same_run(mixtures, gaussian):
    run = basis.stream(mixtures, gaussian, SUM, batch_size=3, levels=3, steps=20)
    states = list(run)
    assert [len(state.x) for state in states] == [3] * 60 + [2] * 60
    assert [state.step for state in states] == 2 * list(range(1, 61))
    whole = separate(mixtures, gaussian, "basis")
    assert torch.equal(
        run.result.samples, basis.separate(mixtures, gaussian, SUM, "basis", batch_size=3, **QUICK["basis"]).samples
    )
    torch.testing.assert_close(run.result.samples, whole.samples, **EXACTLY)
    half = basis.stream(mixtures, gaussian, SUM, **QUICK["basis"])
    next(half)
    assert torch.equal(half.result.samples, whole.samples)  # what is left is done first
    assert half.result is half.result


def test_a_separator_object_is_its_name_with_settings(mixtures, gaussian):
    by_name = basis.separate(mixtures, gaussian, SUM, "basis", levels=2, steps=5, ratio=0.5)
    by_object = basis.separate(mixtures, gaussian, SUM, basis.BASIS(levels=2, steps=5, ratio=0.5))
    assert torch.equal(by_name.samples, by_object.samples)
    with pytest.raises(basis.UsageError, match="go with a method's name"):
        basis.separate(mixtures, gaussian, SUM, basis.BASIS(), levels=2)


def test_endings(mixtures, gaussian):
    found, x = {}, None
    for denoise, project in itertools.product((False, True), repeat=2):
        run = basis.stream(mixtures, gaussian, SUM, denoise=denoise, project=project, **QUICK["basis"])
        *_, state = run
        assert x is None or torch.equal(state.x, x)  # an ending changes nothing on the way
        found[denoise, project], x = run.result, state.x
    denoised = gaussian.denoise(x.flatten(0, 1), 0.01).unflatten(0, (5, 2))
    assert (denoised - x).abs().max() > 1e-3
    assert torch.equal(found[False, False].sources, x)
    torch.testing.assert_close(found[True, False].sources, denoised)
    torch.testing.assert_close(found[False, True].sources, SUM.project(x, mixtures))
    torch.testing.assert_close(found[True, True].sources, SUM.project(denoised, mixtures))
    for (_, project), result in found.items():
        assert (result.residual.max() < 1e-12) if project else (result.residual.min() > 1e-6)
    assert torch.equal(separate(mixtures, gaussian, "basis").samples, found[True, True].samples)


@pytest.mark.parametrize("denoise", [False, True])
@pytest.mark.parametrize("project", [False, True])
def test_results_lie_in_the_support(edm, denoise, project):
    mixing = basis.WeightedSum([1.0, 1.0])
    mixture = 2 * torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    run = basis.stream(mixture, edm, mixing, "basis", levels=1, steps=3, denoise=denoise, project=project)
    *_, state = run
    assert state.x.max() > 1
    found = run.result
    assert found.samples.min() >= 0
    assert found.samples.max() <= 1
    expected = edm.denoise(state.x.flatten(0, 1), 0.01).unflatten(0, (2, 2)) if denoise else state.x
    if project:
        assert found.residual.max() < 1e-10
        # In turn, not once: clamping what one projection gives does not meet the constraint.
        assert (mixing(mixing.project(expected, mixture).clamp(0, 1)) - mixture).abs().max() > 1e-3
        expected = mixing.project(expected, mixture, (0, 1))
    torch.testing.assert_close(found.sources, expected.clamp(0, 1), rtol=0, atol=1e-5)


class Outwards(basis.ScorePrior):
    """A score that is wrong far from the data, as flows' can be: it pulls away from them."""

    def score(self, x, sigma):
        return 90 * (x - 0.5) / sigma**2


def test_bounded_dynamics_do_not_run_away():
    outwards, m = Outwards((1, 2, 2), data_range=(0.0, 1.0)), torch.full((1, 1, 2, 2), 1.2)
    with pytest.raises(basis.DivergenceError, match="not finite"):
        separate(m, outwards, "basis")
    result = separate(m, outwards, "basis", bounded=True)
    assert result.residual.max() < 1e-10
    assert result.sources.min() >= 0
    assert result.sources.max() <= 1


def test_average_by_hand(gaussian):
    m = torch.tensor([[[0.5, 1.0], [0.2, 0.0]]])
    found = separate(m, gaussian, "average").sources[0]
    torch.testing.assert_close(found, torch.stack([m, 0.5 * m]) / 1.25)  # α m / ‖α‖²
    plain = separate(m, gaussian, "average", mixing=basis.WeightedSum([1.0] * 4)).sources[0]
    torch.testing.assert_close(plain, (m / 4).expand(4, 1, 2, 2))


def test_colorization_ends_at_the_mode(as_sampled):
    # One source, three channels: the missing colours are regressed on the grey. At temperature 0 the result is the mode
    # (P + w wᵀ / γ²)⁻¹ (P μ + w m / γ²) with P = (C + σ² I)⁻¹.
    C = torch.tensor([[0.04, 0.02, 0.01], [0.02, 0.05, 0.0], [0.01, 0.0, 0.03]])
    mu, w, m, sigma = torch.tensor([0.2, 0.5, 0.7]), torch.full((3,), 1 / 3), 0.6, 0.1
    prior = basis.GaussianMixture([1.0], mu.reshape(1, 3, 1, 1), C[None])
    settings = {"levels": 1, "sigma_min": sigma, "temperature": 0, "delta": 0.5 * sigma**2, "steps": 300}
    found = basis.separate(torch.full((1, 1, 1), m), prior, basis.Grayscale(), **settings, **as_sampled)
    P = torch.linalg.inv(C + sigma**2 * torch.eye(3))
    mode = torch.linalg.solve(P + torch.outer(w, w) / sigma**2, P @ mu + w * m / sigma**2)
    torch.testing.assert_close(found.sources.flatten(), mode, rtol=0, atol=1e-5)


BAD = {
    "shape": (
        {"mixture": torch.zeros(1, 3, 2)},
        basis.DataError,
        r"expected a mixture of shape \(1, 2, 2\).*got \(1, 3, 2\)",
    ),
    "channels": ({"mixture": torch.zeros(2, 3, 2, 2)}, basis.DataError, "expected a mixture of shape"),
    "another size": ({"mixture": torch.zeros(3, 2)}, basis.DataError, "expected a mixture of shape"),
    "empty": ({"mixture": torch.zeros(0, 1, 2, 2)}, basis.DataError, "expected a mixture of shape"),
    "nan": ({"mixture": torch.full((1, 2, 2), math.nan)}, basis.DataError, "NaN or infinite"),
    "inf": ({"mixture": torch.full((1, 2, 2), -math.inf)}, basis.DataError, "NaN or infinite"),
    "samples": ({"samples": 0}, basis.UsageError, "samples must be a whole number of at least 1, got 0"),
    "batch size": ({"batch_size": -1}, basis.UsageError, "batch_size must be a whole number of at least 1, got -1"),
    "seed": ({"seed": -1}, basis.UsageError, "seed must be a whole number of at least 0, got -1"),
    "method": ({"method": "bassis"}, basis.UsageError, "unknown method 'bassis'.*did you mean basis"),
    "far method": ({"method": "zzz"}, basis.UsageError, "choose one of adversarial, average, basis"),
    "setting": (
        {"step": 5},
        basis.UsageError,
        "unknown setting of the default here, preset 'paper': 'step'.*did you mean.* steps",
    ),
    "setting of none": ({"method": "average", "steps": 5}, basis.UsageError, "method 'average' has no setting 'steps'"),
    "index": ({"index": [1, 2]}, basis.UsageError, "expected an index for each of 1 mixtures, got 2"),
    "negative index": ({"index": [-1]}, basis.UsageError, "index must be a whole number of at least 0, got -1"),
    "no index": ({"index": []}, basis.UsageError, "expected an index for each of 1 mixtures, got 0"),
    "list": ({"mixture": [[[1.0]]]}, basis.UsageError, "the mixture as a torch or numpy array, got list"),
    "file": ({"mixture": "image.png"}, basis.DataError, "image.png does not exist"),
    "prior's name": ({"prior": "mnits"}, basis.UsageError, "unknown prior 'mnits'.*did you mean mnist"),
    "no prior": ({"prior": [None, None]}, basis.UsageError, "expected a prior or one for each source, got NoneType"),
    "steps": ({"steps": 0}, basis.UsageError, "'steps' of method 'basis' takes"),
    "part of a step": ({"steps": 2.5}, basis.UsageError, "takes a whole number"),
    "levels": ({"levels": 0}, basis.UsageError, "'levels' of method 'basis' takes"),
    "grey": ({"mixing": basis.Grayscale()}, basis.UsageError, "expected images of 3 channels"),
    "ratio": ({"ratio": 0.0}, basis.UsageError, "'ratio' of method 'basis' takes a number"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, gaussian):
    changes, error, message = BAD[case]
    arguments = {"mixture": torch.ones(1, 2, 2), "prior": gaussian, "mixing": SUM, **changes}
    with pytest.raises(error, match=message) as caught:
        basis.separate(**arguments)
    assert "\n" not in str(caught.value)


def test_batch_size_0(gaussian):
    with pytest.raises(basis.UsageError, match="batch_size must be a whole number of at least 1"):
        basis.separate(torch.ones(1, 2, 2), gaussian, SUM, "average", batch_size=0)


def test_one_prior_a_source(gaussian):
    for count in (0, 1, 3):
        with pytest.raises(basis.UsageError, match=f"the mixing has 2 sources, got {count} priors"):
            basis.separate(torch.ones(1, 2, 2), [gaussian] * count, SUM)


def test_values_out_of_range(edm):
    mixture = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(basis.DataError, match=r"values .* to 254, expected 0 to 1\.5.*divide by 255"):
        separate(255 * mixture, edm, "average")
    with pytest.raises(basis.DataError, match=r"expected -0\.5 to 1"):
        separate(mixture - 2, edm, "average", mixing=basis.WeightedSum([1.0, -0.5]))
    # A tenth of the range is left for noise; saturating mixings have the range of their bounds.
    assert separate(1.6 * (mixture > 0.5), edm, "average").samples.shape == (1, 1, 2, 1, 8, 8)
    with pytest.raises(basis.DataError, match="expected 0 to 1"):
        separate(1.6 * (mixture > 0.5), edm, "average", mixing=basis.Clipped([1.0, 1.0]))


def test_settings_keep_nothing_between_calls(mixtures, gaussian):
    method = basis.BASIS(levels=2, steps=5)
    first = basis.separate(mixtures, gaussian, SUM, method, seed=3).samples
    basis.separate(mixtures * 0.5, gaussian, basis.WeightedSum([1.0, 1.0, 1.0]), method, seed=4)
    assert torch.equal(basis.separate(mixtures, gaussian, SUM, method, seed=3).samples, first)


def test_defaults_are_the_papers():
    defaults = {name: p.default for name, p in inspect.signature(basis.BASIS).parameters.items()}
    paper = {
        "levels": 10,
        "sigma_max": 1.0,
        "sigma_min": 0.01,
        "steps": 100,
        "delta": 2e-5,
        "temperature": 1.0,
        "ratio": 1.0,
    }
    assert (defaults["denoise"], defaults["project"]) == (True, None)  # ours, see test_endings
    assert {name: defaults[name] for name in paper} == paper
    np.testing.assert_allclose(basis.BASIS().sampler.sigmas, basis.geometric(1.0, 0.01, 10))
