"""A metric knows the range of its data, or asks: figures do not depend on the units, and other ranges are refused."""

from functools import partial

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import basis
from basis.core.metric import UNIT
from basis.evaluate.evaluation import evaluate
from basis.metrics.digits_right import DigitsRight
from basis.metrics.fid import FID
from basis.metrics.inception_score import InceptionScore
from basis.metrics.kid import KID
from basis.metrics.psnr import PSNR
from basis.metrics.ssim import SSIM, ssim
from basis.paper.job import Flat


def pair(low=0.0, high=1.0, size=16):
    """Estimated and true sources in a range, with an error of a hundredth of it."""
    target = torch.rand(3, 2, 1, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sign = torch.randint(0, 2, target.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    target = 0.05 + 0.9 * target  # no estimate is clamped
    return (low + (high - low) * x for x in (target + 0.01 * sign, target))


@pytest.mark.parametrize(
    ("ends", "data_range"),
    [
        ((0, 1), (0.0, 1.0)), ((0, 1), 1), ((-0.5, 0.5), 1.0), ((-0.5, 0.5), (-0.5, 0.5)), ((-1, 1), 2),
        ((-1, 1), [-1, 1]),
        ((0, 255), 255), ((0, 255), (0, 255)), ((-32768, 32767), 65535), ((3, 3.001), 0.001),
    ],
)  # fmt: skip
def test_psnr_in_any_units(ends, data_range):
    estimate, target = pair(*ends)
    found = basis.psnr(estimate, target, data_range=data_range)
    np.testing.assert_allclose(found, 40.0, atol=1e-4)
    np.testing.assert_allclose(PSNR(data_range)(estimate, target), found)
    width = data_range if np.isscalar(data_range) else data_range[1] - data_range[0]
    theirs = peak_signal_noise_ratio(target[0, 0].numpy(), estimate[0, 0].numpy(), data_range=width)
    assert theirs == pytest.approx(40.0, abs=1e-4)
    assert basis.align(estimate.flip(1), target, data_range).tolist() == [[1, 0]] * 3


def test_ssim_in_8_bits_is_that_of_scikit_image():
    estimate, target = (x.round() for x in pair(0, 255))
    theirs = [
        [
            structural_similarity(
                e[0], t[0], data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
            for e, t in zip(es.numpy(), ts.numpy(), strict=True)
        ]
        for es, ts in zip(estimate, target, strict=True)
    ]
    np.testing.assert_allclose(ssim(estimate, target, data_range=255), np.mean(theirs, 1), atol=1e-4)
    np.testing.assert_allclose(SSIM(255)(estimate, target), ssim(estimate / 255, target / 255, UNIT), atol=1e-6)


@pytest.mark.parametrize("convert", [lambda x: x.numpy(), lambda x: x.numpy().astype(">f4"), lambda x: x.half()])
def test_arrays_of_any_real_type(convert):
    estimate, target = pair()
    for metric in (basis.psnr, ssim):
        exact = metric(estimate, target, data_range=1)
        np.testing.assert_allclose(metric(convert(estimate), convert(target), data_range=1), exact, atol=0.5)
    assert basis.align(convert(estimate), convert(target)).tolist() == [[0, 1]] * 3


def test_8_bit_values():
    estimate, target = (x.round().to(torch.uint8) for x in pair(0, 255))
    expected = basis.psnr(estimate.double() / 255, target.double() / 255, UNIT)
    np.testing.assert_allclose(basis.psnr(estimate, target, data_range=255), expected)
    np.testing.assert_allclose(basis.psnr(estimate.numpy()[..., ::-1, :], target.numpy()[..., ::-1, :], 255), expected)
    black = torch.zeros(1, 1, 4, dtype=torch.uint8)
    assert basis.psnr(black, black, UNIT).item() == 100  # of whole numbers those within the range are taken as they are


MEASURES = {
    "psnr": partial(basis.psnr, data_range=UNIT),
    "align": partial(basis.align, data_range=UNIT),
    "ssim": partial(ssim, data_range=UNIT),
    "PSNR": PSNR(UNIT),
    "SSIM": SSIM(UNIT),
    "digits": lambda *pair: DigitsRight()(*(x.repeat(1, 1, 1, 2, 2)[..., :28, :28] for x in pair)),
}
FOREIGN = {"8 bit": (0, 255), "around 0": (-1, 1), "16 bit": (-32768, 32767), "half": (-0.5, 0.5), "shifted": (1, 2)}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("ends", FOREIGN)
def test_another_range_is_refused(name, ends):
    estimate, target = pair(*FOREIGN[ends])
    inside, _ = pair()
    pairs = [(estimate, target), (inside, target)] + [(estimate, inside)] * (ends not in ("half", "around 0"))
    for wrong in pairs:
        with pytest.raises(basis.UsageError, match=r"have values from .* to .*, expected data_range=.*To fix.*255"):
            MEASURES[name](*wrong)


@pytest.mark.parametrize("metric", [FID, KID, InceptionScore])
def test_features_of_another_range(metric):
    images = torch.rand(12, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for wrong in (255 * images, 4 * images - 2, (255 * images).to(torch.uint8), (255 * images).numpy()):
        with pytest.raises(basis.UsageError, match=r"the images have values .*, expected data_range=\(0\.0, 1\.0\)"):
            metric("mnist-digits").update(wrong)
    with pytest.raises(basis.UsageError, match="the images have values"):
        metric("mnist-digits").update(images + 0.1, real=True)
    figures = []
    for data_range, scale in (((0.0, 1.0), 1), (255, 255), ((0, 255), 255)):
        one = metric("mnist-digits", data_range=data_range)
        one.update(scale * images.flip(2), real=True)
        one.update(scale * (images + 1e-3))  # a sampler's estimate
        figures.append(one.compute()[0])
    assert figures == pytest.approx([figures[0]] * 3, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("data_range", [0, -1, (1, 0), (0, 1, 2), "255", None, np.nan, (0, np.inf), True])
def test_what_is_no_range(data_range):
    with pytest.raises(basis.UsageError, match="expected data_range as"):
        basis.psnr(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4), data_range=data_range)


@pytest.mark.parametrize("metric", [basis.psnr, ssim])
def test_there_is_no_range_by_default(metric):
    """Data in [-1, 1] that happen to be in [0, 1] would score 6 dB less than they should."""
    estimate, target = pair()
    with pytest.raises(basis.UsageError, match=r"got None for sources that do not say it.*To fix: give the separation"):
        metric(estimate, target)


def test_the_order_does_not_depend_on_the_unit():
    for ends in ((0, 1), (-0.5, 0.5), (-32768, 32767), (3, 3.000001)):
        estimate, target = pair(*ends)
        assert basis.align(estimate.flip(1), target).tolist() == [[1, 0]] * 3
        assert basis.align(estimate.flip(1), target, kinds=[0, 1]).tolist() == [[0, 1]] * 3


def test_a_separation_knows_its_range_and_its_kinds():
    """Of a prior over [-0.5, 0.5] with an error of 0.01: 40 dB, and sources of unequal weights keep their order."""
    estimate, target = pair(-0.5, 0.5)

    class Given(basis.Separator):
        def stream(self, problem, noise):
            yield from ()
            return basis.core.separator.separation(problem, estimate)

    for alphas, flipped in (((1.0, 1.0), 40.0), ((0.5, 1.5), None)):
        mixing = basis.WeightedSum(alphas)
        found = basis.separate(mixing(target), Flat(target.shape[2:], (-0.5, 0.5)), mixing, Given(), assess=False)
        assert found.data_range == (-0.5, 0.5)
        np.testing.assert_allclose(basis.psnr(found, target), 40.0, atol=1e-4)
        np.testing.assert_allclose(evaluate(found, target).psnr, 40.0, atol=1e-4)
        assert ((basis.psnr(found, target.flip(1)) - 40).abs() < 1e-4).all().item() is (flipped is not None)
        assert basis.align(found, target).tolist() == [[0, 1]] * 3


def test_an_estimate_may_be_outside_a_little():
    target = torch.zeros(1, 2, 1, 8, 8)
    target[..., 2:5, 2:5] = 1.0
    noisy = target + 0.2 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    assert basis.psnr(noisy, target, UNIT) == basis.psnr(noisy.clamp(0, 1), target, UNIT)
    assert basis.psnr(noisy, target, data_range=1.0) < basis.psnr(
        noisy, target, UNIT
    )  # a width says not where to clamp


def test_only_sources_of_one_kind_change_places():
    target = torch.rand(2, 3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    turned = target[:, [1, 0, 2]]
    for kinds, right in (((0, 0, 0), True), ((0, 0, 1), True), ((0, 1, 0), False), ((0, 1, 2), False), (None, True)):
        exact = basis.psnr(turned, target, UNIT, kinds=kinds)
        assert (exact == 100).all().item() is right
        assert (ssim(turned, target, UNIT, kinds=kinds) > 0.999).all().item() is right
        order = basis.align(turned, target, kinds=kinds)
        assert order.tolist() == [[1, 0, 2] if right else [0, 1, 2]] * 2 or kinds == (0, 1, 0)
    assert (basis.align(target[:, [2, 0, 1]], target, kinds=(0, 1, 0))[:, 1] == 1).all()
    with pytest.raises(basis.UsageError, match="the kind of each of 3 sources"):
        basis.psnr(turned, target, UNIT, kinds=[0, 1])


@pytest.mark.parametrize(("alphas", "kinds"), [((1.0, 1.0), (0, 0)), ((0.6, 1.4), (0, 1))])
def test_unequal_weights_keep_their_order(alphas, kinds):
    """A separation with its two sources exchanged is right where the weights are equal, and wrong where not."""
    prior = basis.GaussianMixture([1.0], torch.full((1, 1, 12, 12), 0.5), 0.05 * torch.eye(144)[None])
    truth = torch.rand(2, 2, 1, 12, 12, generator=torch.Generator().manual_seed(0))

    class Turned(basis.Separator):
        def stream(self, problem, noise):
            yield from ()
            return basis.core.separator.separation(problem, truth.flip(1))

    mixing = basis.WeightedSum(alphas)
    found = basis.separate(mixing(truth), prior, mixing, Turned())
    assert found.kinds == kinds
    exact = evaluate(found, truth, data_range=UNIT)
    assert (exact.psnr == 100).all().item() is (kinds == (0, 0))
    assert torch.equal(exact.candidates[:, 0], exact.psnr)
    joined = basis.separate(mixing(truth), prior, mixing, "average", batch_size=1)
    assert joined.kinds == kinds


def test_digits_are_read_in_their_order():
    one, seven = torch.zeros(2, 1, 28, 28)
    one[0, 5:23, 13:15] = 1.0
    seven[0, 6:8, 8:20] = 1.0
    for i in range(14):
        seven[0, 8 + i, 18 - i // 2 : 20 - i // 2] = 1.0
    x = torch.stack([one, seven])[None]
    labels = DigitsRight().read(x)
    assert labels[0, 0] != labels[0, 1]
    for kinds, right in ((None, 1.0), ((0, 0), 1.0), ((0, 1), 0.0)):
        assert DigitsRight(labels, kinds=kinds)(x.flip(1), x).item() == right
    assert DigitsRight(labels, data_range=255)(255 * x, 255 * x).item() == 1.0
