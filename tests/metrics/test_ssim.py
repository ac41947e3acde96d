"""SSIM and PSNR against scikit-image, and what digits are read as."""

import itertools
import json
import os

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import basis
from basis.core.metric import UNIT
from basis.datasets.cifar10 import CIFAR10
from basis.datasets.mnist import MNIST
from basis.io.durable import sha256_of
from basis.metrics._features import FOLDER, load_classifier
from basis.metrics.digits_right import DigitsRight
from basis.metrics.ssim import SSIM, ssim


def stacks(count=3, sources=3, shape=(3, 16, 20), seed=0):
    """Smooth targets, and estimates that are near them, in another order, and sometimes out of range."""
    rng = np.random.default_rng(seed)
    target = rng.random((count, sources, *shape))
    target = (target + np.roll(target, 1, -1) + np.roll(target, 1, -2)) / 3
    estimate = rng.permutation(target, axis=1) + rng.normal(0, 0.2, target.shape)
    return torch.tensor(estimate), torch.tensor(target)


def reference(estimate, target):
    """SSIM of two images (C, H, W) by scikit-image, the settings of Wang et al."""
    return structural_similarity(
        np.clip(estimate, 0, 1), np.asarray(target), data_range=1.0, channel_axis=0,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 11, 11), (1, 28, 28), (3, 16, 20)])
def test_ssim_is_that_of_scikit_image(shape):
    estimate, target = stacks(shape=shape)
    expected = [[reference(e, t) for e, t in zip(es, ts, strict=True)]
                for es, ts in zip(estimate.numpy(), target.numpy(), strict=True)]  # fmt: skip
    np.testing.assert_allclose(SSIM(UNIT)(estimate, target), np.mean(expected, 1), atol=1e-6)


def test_psnr_is_that_of_scikit_image():
    estimate, target = stacks()
    aligned = basis.reorder(estimate, basis.align(estimate, target, UNIT)).clamp(0, 1)
    expected = [np.mean([peak_signal_noise_ratio(t, e, data_range=1.0) for e, t in zip(es, ts, strict=True)])
                for es, ts in zip(aligned.numpy(), target.numpy(), strict=True)]  # fmt: skip
    np.testing.assert_allclose(basis.psnr(estimate, target, UNIT), expected, atol=1e-6)


def test_ssim_takes_the_best_assignment_of_all():
    estimate, target = stacks(seed=1)
    best = [max(np.mean([reference(es[i], ts[k]) for k, i in enumerate(order)])
                for order in itertools.permutations(range(3)))
            for es, ts in zip(estimate.numpy(), target.numpy(), strict=True)]  # fmt: skip
    np.testing.assert_allclose(ssim(estimate, target, UNIT), best, atol=1e-6)
    assert (ssim(estimate, target, UNIT) > SSIM(UNIT)(estimate, target)).any()


def test_small_images_have_no_ssim():
    with pytest.raises(basis.UsageError, match=r"at least 11×11 pixels, got \(1, 2, 1, 8, 8\)"):
        ssim(torch.zeros(1, 2, 1, 8, 8), torch.zeros(1, 2, 1, 8, 8), UNIT)


# The bundled classifiers


@pytest.mark.parametrize(("name", "size", "least"), [("mnist-digits", 1e6, 0.99), ("cifar10-classes", 5e6, 0.9)])
def test_a_classifier_is_the_one_on_its_card(name, size, least):
    folder = FOLDER / name
    card = json.loads((folder / "card.json").read_text())
    assert card["sha256"] == sha256_of(folder / "model.safetensors")
    assert (folder / "model.safetensors").stat().st_size < size
    assert card["test_accuracy"] >= least


@pytest.mark.skipif("BASIS_DATA" not in os.environ, reason="needs the data: set BASIS_DATA to the folder of its files")
@pytest.mark.parametrize(("name", "data", "least"), [("mnist-digits", MNIST, 0.99), ("cifar10-classes", CIFAR10, 0.89)])
def test_a_classifier_reads_its_images(name, data, least):
    images, labels = data().images("validation")
    with torch.no_grad():
        read = load_classifier(name)(images[:1000].float() / 255).argmax(1)
    assert (read == labels[:1000]).double().mean() > least


def examples():
    """The bundled pairs and their digits, as the classifier reads them."""
    pairs = [np.load(basis.example(f"two-{letter}"))["sources"] for letter in "abcde"]
    truth = torch.from_numpy(np.stack(pairs)).float() / 255
    return truth, DigitsRight().read(truth)


def test_digits_are_right_in_any_order():
    truth, labels = examples()
    assert len(labels.unique()) > 3
    assert DigitsRight(labels)(truth.flip(1), truth).tolist() == [1] * 5
    assert DigitsRight(labels.flip(1))(truth, truth).tolist() == [1] * 5


def test_digits_count_as_often_as_they_are_there():
    truth, labels = examples()
    twice = truth[:, :1].expand(-1, 2, -1, -1, -1)  # one digit found twice, the other lost
    different = labels[:, 0] != labels[:, 1]
    assert different.any()
    assert not DigitsRight(labels)(twice, truth)[different].any()
    assert DigitsRight()(truth / 2 + truth.flip(1) / 2, truth).mean() < 1
    with pytest.raises(basis.UsageError, match=r"labels of mixtures \(5, 2\), got \(4, 2\)"):
        DigitsRight(labels[:4])(truth, truth)
    with pytest.raises(basis.UsageError, match=r"\(B, K, 1, 28, 28\)"):
        DigitsRight()(torch.zeros(1, 2, 3, 32, 32), torch.zeros(1, 2, 3, 32, 32))
