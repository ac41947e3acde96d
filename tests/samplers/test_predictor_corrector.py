"""Predictor-corrector and NCSNv2's rules: one step by hand, the law of samples, the published step."""

import numpy as np
import pytest
import torch

import basis
from basis.core.schedule import matched_step, widest
from basis.samplers.predictor_corrector import PredictorCorrector
from closed_forms import MIXTURE_2D, agree, build


def draws(generator, shape):
    return lambda: torch.randn(shape, generator=generator)


def test_one_step_by_hand(gaussian):
    generator = torch.Generator().manual_seed(0)
    x, *draws = torch.randn(4, 3, *gaussian.shape, generator=generator)
    sampler = PredictorCorrector(torch.tensor([0.5, 0.3]), corrections=2, snr=0.1)
    remaining = iter(draws)
    found = sampler.step(x, 0.5, 0.3, gaussian, lambda: next(remaining))
    D = gaussian.denoise(x, 0.5)
    expected = D + 0.36 * (x - D) + 0.3 * 0.8 * draws[0]
    for z in draws[1:]:
        g = gaussian.score(expected, 0.3)
        for i in range(3):  # each example has a step of its own
            eta = 2 * (0.1 * z[i].norm() / g[i].norm()) ** 2
            expected[i] += eta * g[i] + (2 * eta).sqrt() * z[i]
    torch.testing.assert_close(found, expected)
    assert sampler.total == 2


def test_samples_follow_the_prior(tiled):
    # 400 copies side by side, so that norms are those of large examples; 10 of them.
    prior, generator = tiled(build(MIXTURE_2D), 400), torch.Generator().manual_seed(1)
    weights, means, covariances = (np.array(part) for part in MIXTURE_2D)
    pick = (torch.rand(4000, generator=generator) > weights[0]).long()
    scales = torch.tensor(np.linalg.cholesky(covariances + 9 * np.eye(2))).float()[pick]
    x = torch.tensor(means).float()[pick] + (scales @ torch.randn(4000, 2, 1, generator=generator))[..., 0]
    sampler = PredictorCorrector(basis.karras(levels=100), corrections=1, snr=0.1)
    draw = draws(generator, (10, 400, 2))
    *_, state = sampler.run(prior, x.reshape(10, 400, 2), draw)
    agree(state.x.flatten(0, 1).double().numpy(), weights, means, covariances)


def test_the_corrector_makes_up_for_few_levels(tiled):
    # Fresh from a wrong start, six levels leave too small a variance; Langevin steps bring the spread back.
    prior = tiled(basis.GaussianMixture([1.0], [[0.4]], [[[0.09]]]), 4000)
    errors = []
    for corrections in (0, 6):
        generator = torch.Generator().manual_seed(0)
        draw = draws(generator, (1, 4000, 1))
        sampler = PredictorCorrector(basis.karras(3.0, 0.05, 6), corrections, snr=0.3)
        *_, state = sampler.run(prior, 0.4 + 3 * draw(), draw)
        errors.append(abs(state.x.var().item() / 0.09 - 1))
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("bad", [{"corrections": -1}, {"corrections": 1.5}, {"snr": 0.0}])
def test_bad_settings(bad):
    with pytest.raises(basis.UsageError, match=f"'{next(iter(bad))}' of PredictorCorrector takes a"):
        PredictorCorrector(**bad)


def test_the_matched_step_is_the_published_one():
    # NCSNv2's settings for CIFAR-10: 232 levels from 50 to 0.01, 5 steps each, step 6.2e-6.
    assert matched_step(basis.geometric(50.0, 0.01, 232), 5) == pytest.approx(6.2e-6, rel=0.02)


def test_the_matched_step_keeps_the_noise_at_its_level(gaussian):
    # By simulation of the recursion it was derived from: white noise that comes from the level above.
    sigmas, repeats = basis.geometric(1.0, 0.01, 40), 5
    sampler = basis.AnnealedLangevin(sigmas, repeats, delta=None, stability=float("inf"))
    assert sampler.delta == matched_step(sigmas, repeats)

    def spread(delta):
        variance = (sigmas[0] / sigmas[1]).item() ** 2
        for _ in range(repeats):
            variance = (1 - delta / 1e-4) ** 2 * variance + 2 * delta / 1e-4
        return abs(variance - 1)

    assert all(spread(sampler.delta) <= spread(factor * sampler.delta) + 1e-4 for factor in (0.5, 0.8, 1.25, 2.0))


def test_the_widest_pair():
    x = torch.rand(20, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    assert widest(x) == pytest.approx(max((a - b).norm().item() for a in x for b in x), rel=1e-6)
