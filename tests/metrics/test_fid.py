"""FID, KID and Inception Score against their formulas in float64, and where their features come from."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

import basis
from basis.metrics import _features
from basis.metrics._features import INCEPTION, INCEPTION_SHA256, Extractor, extractor, load_classifier
from basis.metrics.fid import FID
from basis.metrics.inception_score import InceptionScore
from basis.metrics.kid import KID

D, CLASSES = 12, 7


class Linear(nn.Module):
    """Features and logits by two fixed matrices."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.features = nn.Parameter(torch.randn(16, D, generator=generator, dtype=torch.float64))
        self.logits = nn.Parameter(4 * torch.randn(16, CLASSES, generator=generator, dtype=torch.float64))

    def forward(self, x):
        x = x.flatten(1).to(self.features.dtype)
        return x @ self.features, x @ self.logits


@pytest.fixture
def linear():
    return Extractor("linear", "0" * 64, Linear())


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    real = torch.rand(331, 1, 4, 4, generator=generator)
    return 0.8 * torch.rand(257, 1, 4, 4, generator=generator) + 0.1, real


def fed(metric, images, size=64):
    """Feed separated and real images in turn, part by part."""
    for kind, stack in enumerate(images):
        for part in stack.split(size):
            metric.update(part, real=bool(kind))
    return metric.compute()


@torch.no_grad()
def seen(linear, images):
    return [linear.call(stack)[0].numpy() for stack in images]


def test_fid_is_the_formula(linear, images):
    fake, real = seen(linear, images)
    covariances = [np.cov(rows, rowvar=False) for rows in (fake, real)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = np.sum((fake.mean(0) - real.mean(0)) ** 2) + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert fed(FID(linear), images)[0] == pytest.approx(expected, rel=1e-6)
    assert fed(FID(linear), images, size=1)[0] == pytest.approx(expected, rel=1e-6)


def test_kid_is_the_formula(linear, images):
    fake, real = seen(linear, images)
    kernel = lambda a, b: (a @ b.T / D + 1) ** 3  # noqa: E731
    unbiased = lambda k: (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))  # noqa: E731
    subset = fake[np.random.default_rng((0, 2)).permutation(len(fake))]
    np.testing.assert_array_equal(np.sort(subset, 0), np.sort(fake, 0))
    equal = real[: len(fake)]  # subsets have equally many of each kind
    expected = unbiased(kernel(fake, fake)) + unbiased(kernel(equal, equal)) - 2 * kernel(fake, equal).mean()
    metric = KID(linear, subsets=1)
    assert fed(metric, (images[0], images[1][: len(fake)]))[0] == pytest.approx(expected, rel=1e-6)
    mean, deviation = fed(KID(linear, subsets=400, size=50), (images[0], images[1][: len(fake)]))
    assert mean == pytest.approx(expected, abs=4 * deviation / np.sqrt(400) + 1e-9)
    assert deviation > 0


def test_inception_score_is_the_formula(linear, images):
    with torch.no_grad():
        p = linear.call(images[0])[1].softmax(1).numpy()
    scores = []
    for split in range(10):
        part = p[split::10]
        scores.append(np.exp(np.mean(np.sum(part * (np.log(part) - np.log(part.mean(0))), 1))))
    mean, deviation = fed(InceptionScore(linear), images, size=33)
    assert mean == pytest.approx(np.mean(scores), rel=1e-9)
    assert deviation == pytest.approx(np.std(scores), rel=1e-9)
    assert 1 < mean < CLASSES


def test_the_extremes_of_the_inception_score():
    certain = Extractor(
        "certain", "", lambda x: (x.flatten(1), 1e3 * nn.functional.one_hot((4 * x.flatten(1)[:, 0]).long(), 5))
    )
    classes = torch.arange(100).remainder(5).float().reshape(100, 1, 1, 1)
    score = InceptionScore(certain, splits=1, data_range=4)
    score.update(classes)
    assert score.compute() == (pytest.approx(5), None)


def test_the_same_set_has_distance_zero(linear, images):
    assert abs(fed(FID(linear), (images[0], images[0]))[0]) < 1e-6
    assert fed(KID(linear, subsets=1), (images[0], images[0]))[0] <= 0  # unbiased: below zero for equal samples


def test_memory_does_not_grow(linear, images):
    kid, fid, score = KID(linear, most=20), FID(linear), InceptionScore(linear)
    for _ in range(8):
        for metric in (kid, fid, score):
            metric.update(images[1])
            metric.update(images[0], real=True)
    kept = kid._kept[False].rows()
    assert kept.shape == (20, D)
    assert kid._kept[False].seen == 8 * 331
    rows = {tuple(row) for row in seen(linear, images)[1].round(9)}
    assert all(tuple(row) in rows for row in kept.numpy().round(9))
    assert kept[0].untyped_storage().nbytes() <= 20 * D * 8
    assert fid._state.fake_features_cov_sum.shape == (D, D)
    assert score._marginal.shape == (10, CLASSES)


def test_the_kept_sample_is_uniform(linear):
    # Of 10 rows 2 are kept; over many seeds each row is kept as often as any other.
    rows = torch.eye(10, dtype=torch.float64)
    counts = torch.zeros(10, dtype=torch.float64)
    for seed in range(2000):
        kid = KID(linear, most=2, seed=seed)
        kid.take(rows, None)
        counts += kid._kept[False].rows().sum(0)
    assert counts.sum() == 4000
    assert (counts - 400).abs().max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


@pytest.mark.parametrize("metric", [FID, KID, InceptionScore])
def test_too_few_images(metric, linear):
    with pytest.raises(basis.UsageError, match=r"\(linear\) needs at least"):
        metric(linear).compute()


# Where features come from


def test_missing_inception_says_which_file_its_hash_and_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for metric in (FID, KID, InceptionScore):
        with pytest.raises(basis.DataError) as caught:
            metric()
        for part in (str(tmp_path), INCEPTION, INCEPTION_SHA256, "https://", "--features"):
            assert part in str(caught.value)


def test_damaged_inception_weights_are_not_loaded(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = _features.inception_weights()
    file.parent.mkdir(parents=True)
    file.write_bytes(b"something else")
    with pytest.raises(basis.DataError, match=f"has not the sha256 {INCEPTION_SHA256}"):
        extractor("inception")


@pytest.fixture
def script(tmp_path):
    """A TorchScript file of `Linear`, traced."""
    file = tmp_path / "linear.pt"
    traced = torch.jit.trace(Linear().float(), torch.rand(2, 1, 4, 4))
    torch.jit.save(traced, file)
    return file


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_any_torchscript_module_gives_features_under_its_own_name(script, linear, images):
    fid = FID(script)
    assert fid.name == "FID (linear.pt)"
    assert len(fid.extractor.sha256) == 64
    assert fed(fid, images)[0] == pytest.approx(fed(FID(linear), images)[0], rel=1e-4)
    with pytest.raises(basis.UsageError, match=r"extractor linear\.pt does not take images of shape \(1, 5, 5\)"):
        fid.update(torch.zeros(2, 1, 5, 5))


def test_features_without_probabilities_have_no_inception_score(linear, images):
    alone = Extractor("alone", "", lambda x: (linear.call(x)[0], None))
    with pytest.raises(basis.UsageError, match="extractor alone gives features alone"):
        InceptionScore(alone).update(images[0])


def test_early_features_are_those_of_the_first_stage():
    """Two by hand, of its means over the picture; the logits are the classifier's own."""
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    network = load_classifier("cifar10-classes")
    seen = network.stages[0](torch.nn.functional.gelu(network.enter((x - 0.4734) / 0.2517)))
    ((features, logits),) = extractor("cifar10-textures")(x)
    assert features.shape == (3, 64)
    torch.testing.assert_close(features[1, 5], seen[1, 5].double().mean(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(features[2, 63], seen[2, 63].double().mean(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits, network(x).double())


def test_what_is_no_extractor(tmp_path):
    (tmp_path / "noise.pt").write_bytes(b"no module")
    with pytest.raises(basis.DataError, match=r"noise\.pt is not a TorchScript module"):
        extractor(tmp_path / "noise.pt")
    with pytest.raises(basis.UsageError, match=r"unknown feature extractor 'incepton'.*did you mean inception"):
        extractor("incepton")
