"""Metrics: the assignment against all K! of them, the PSNR against its formula in numpy."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import basis
from basis.core.metric import METRICS, UNIT, Metric, SetMetric, pairwise_psnr

psnr, align = partial(basis.psnr, data_range=UNIT), partial(basis.align, data_range=UNIT)


def stacks(seed, count, sources, levels=0):
    """Estimates (some out of range) and targets; few ``levels`` make equal images, hence ties."""
    rng = np.random.default_rng(seed)
    target = rng.random((count, sources, 2, 3))
    estimate = rng.permutation(target, axis=1) + rng.normal(0, 0.3, target.shape)
    if levels:
        target, estimate = np.round(target * levels) / levels, np.round(estimate * levels) / levels
    estimate = estimate.clip(-0.3, 1.3)
    return torch.tensor(estimate), torch.tensor(target)


def formula(estimate, target):
    """PSNR of two images in dB, at most 100."""
    error = np.mean((np.clip(np.asarray(estimate, np.float64), 0, 1) - np.asarray(target, np.float64)) ** 2)
    return -10 * np.log10(max(error, 1e-10))


def best(estimate, target):
    """The largest sum over the sources among all assignments, (B,)."""
    orders = list(itertools.permutations(range(estimate.shape[1])))
    return [max(sum(formula(e[i], t[k]) for k, i in enumerate(order)) for order in orders)
            for e, t in zip(estimate, target, strict=True)]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sources=st.integers(1, 5), levels=st.sampled_from([0, 1, 2]))
def test_align_finds_the_best_assignment(seed, sources, levels):
    estimate, target = stacks(seed, 2, sources, levels)
    order = align(estimate, target)
    assert order.dtype == torch.int64
    assert torch.equal(order.sort(1).values, torch.arange(sources).expand(2, -1))
    found = [sum(formula(e[i], t[k]) for k, i in enumerate(row))
             for e, t, row in zip(estimate, target, order, strict=True)]  # fmt: skip
    np.testing.assert_allclose(found, best(estimate, target), atol=1e-6)
    np.testing.assert_allclose(psnr(estimate, target), np.array(found) / sources, atol=1e-6)


def test_align_undoes_a_permutation():
    target = torch.rand(1, 5, 1, 4, 4, generator=torch.Generator().manual_seed(0)).expand(6, -1, -1, -1, -1)
    shuffled = torch.stack([torch.randperm(5, generator=torch.Generator().manual_seed(i)) for i in range(6)])
    estimate = basis.reorder(target, shuffled)
    assert torch.equal(basis.reorder(estimate, align(estimate, target)), target)
    torch.testing.assert_close(psnr(estimate, target), torch.full((6,), 100.0, dtype=torch.float64))


def test_the_sum_counts_not_the_best_pair():
    # Source 0 fits both targets best; the assignment with the larger sum gives it to the second.
    target = torch.tensor([[[0.50], [0.70]]])
    estimate = torch.tensor([[[0.60], [0.30]]])
    assert align(estimate, target).tolist() == [[1, 0]]


def test_psnr_by_hand():
    target = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    assert psnr(target + 0.1 * torch.tensor([1, -1])[:, None], target).tolist() == pytest.approx([20])
    assert psnr(target + torch.tensor([0.1, 0.01]), target).item() == pytest.approx(
        np.mean([-10 * np.log10((0.01 + 0.0001) / 2), 100])  # the second source is clamped to the truth
    )
    assert pairwise_psnr(torch.full((1, 2, 2), 0.5), target, UNIT)[0].flatten().tolist() == pytest.approx(
        [6.0206] * 4, abs=1e-4
    )


def test_estimates_are_clamped_and_targets_are_not_changed():
    target = torch.tensor([[[1.0], [0.0]]])
    assert psnr(torch.tensor([[[1.3], [-0.1]]]), target).tolist() == [100]


def test_one_source_and_identical_images():
    image = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    assert align(image, image).tolist() == [[0]] * 3
    same = image.expand(-1, 4, -1, -1)
    assert align(same, same).sort(1).values.tolist() == [[0, 1, 2, 3]] * 3
    assert psnr(same, same).tolist() == [100] * 3


def test_figures_are_per_mixture():
    estimate, target = stacks(7, 5, 2)
    alone = torch.cat([psnr(estimate[i : i + 1], target[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(psnr(estimate, target), alone)


NAMES = {name: METRICS.get(name) for name in METRICS.names()}


@pytest.mark.parametrize("name", [name for name, cls in NAMES.items() if issubclass(cls, Metric)])
def test_every_metric_gives_one_figure_a_mixture_with_a_unit(name):
    rng = np.random.default_rng(8)
    estimate, target = (torch.tensor(rng.random((3, 2, 1, 28, 28)), dtype=torch.float32) for _ in range(2))
    normal = basis.GaussianMixture([1.0], torch.zeros(1, 1, 28, 28), torch.eye(28 * 28)[None])
    settings = {"log_likelihood": {"prior": normal}, "psnr": {"data_range": UNIT}, "ssim": {"data_range": UNIT}}
    metric = NAMES[name](**settings.get(name, {}))
    figures = metric(estimate, target)
    assert figures.shape == (3,)
    assert torch.isfinite(figures).all()
    torch.testing.assert_close(metric(estimate[1:2], target[1:2]), figures[1:2])
    assert isinstance(metric.unit, str)


@pytest.mark.parametrize("name", [name for name, cls in NAMES.items() if issubclass(cls, SetMetric)])
def test_every_figure_of_a_set_is_the_same_however_it_is_fed(name):
    images, real = torch.rand(2, 60, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    figures = []
    for size in (60, 7):
        metric = NAMES[name]("mnist-digits")
        for part, other in zip(images.split(size), real.split(size), strict=True):
            metric.update(other, real=True)
            metric.update(part)
        figures.append(metric.compute()[0])
    assert figures[1] == pytest.approx(figures[0], rel=1e-5)
    assert metric.name.endswith("(mnist-digits)")
    assert isinstance(metric.unit, str)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 2, 4, 4), (2, 2, 4)])
def test_shapes_must_match(shape):
    for measure in (psnr, align):
        with pytest.raises(basis.UsageError, match=r"one shape \(B, K, ...\)"):
            measure(torch.zeros(2, 2, 4, 4), torch.zeros(shape))
    with pytest.raises(basis.UsageError, match="got"):
        psnr(torch.zeros(2, 2), torch.zeros(2, 2))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_sources_must_be_finite(value):
    estimate, target = stacks(9, 2, 2)
    broken = estimate.clone()
    broken[1, 0, 0, 0] = value
    for measure in (psnr, align):
        for pair in ((broken, target), (estimate, broken)):
            with pytest.raises(basis.UsageError, match=r"NaN or infinite values.*To fix"):
                measure(*pair)
