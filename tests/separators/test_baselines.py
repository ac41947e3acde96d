"""Baselines against truth: sources that lie in the dictionaries, real digits, and what each refuses."""

import itertools

import numpy as np
import pytest
import torch

import basis
from basis.core.dataset import DATASETS
from basis.core.prior import ScorePrior
from basis.core.separator import SEPARATORS, choose
from basis.evaluate.mixtures import draw_mixtures, pools
from basis.io.learned import draw, load_separator, save_separator

pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")


class Constant(ScorePrior):
    """A prior of images in [0, 1] of which only shape and data range count."""

    def __init__(self, shape):
        super().__init__(shape, data_range=(0.0, 1.0))

    def score(self, x, sigma):
        raise NotImplementedError


SUM = basis.WeightedSum([1.0, 1.0])
SHAPE = (1, 8, 8)
PRIOR = Constant(SHAPE)
N = 100
# Method, task, settings of a short fit, mean PSNR in dB that it gains over Average on digits: half of what it measured.
SHORT = {
    "nmf": ("split", {"components": 8}, 0.5),
    "supervised": ("agnostic", {"widths": [32, 64], "steps": 200}, 0.8),
    "neural_egg": ("split", {"width": 0.5, "rounds": 4, "epochs": 15}, 1.0),
    "neural_egg-supervised": (
        "split",
        {"supervised": True, "width": 0.5, "rounds": 1, "epochs": 50, "learning_rate": 2e-3},
        2.0,
    ),
}
TINY = {
    "nmf": {"components": 3, "iterations": 20},
    "supervised": {"widths": [8, 8], "steps": 3, "batch": 8},
    "neural_egg": {"kinds": [0, 1], "width": 0.1, "rounds": 2, "epochs": 1, "images": 100},
    "adversarial": {"width": 0.1, "latent": 4, "steps": 3, "batch": 8, "restarts": 2, "search": 4, "refine": 3},
}


@pytest.fixture(scope="module")
def data():
    return DATASETS.get("digits")()


def images(data, kinds):
    found, labels = data.images("train")
    return [found[pool] for pool in pools(data, labels, "split" if len(set(kinds)) > 1 else "agnostic")]


def fitted(name, data, **settings):
    separator = choose(name, {"shape": SHAPE, **settings})
    last = None
    for last in separator.fit(images(data, separator.kinds)):
        assert np.isfinite(last.loss)
    assert (last.step, int(separator.learned)) == (last.steps, last.steps)
    return separator


def psnr(mixtures, method, mixing=SUM):
    found = basis.separate(mixtures.mixture, PRIOR, mixing, method)
    return basis.psnr(found, mixtures.sources).mean().item()


@pytest.fixture(scope="module", params=TINY)
def tiny(request, data):
    """Each method that learns, hardly fitted, with its arguments."""
    return fitted(request.param, data, **TINY[request.param]), {"shape": SHAPE, **TINY[request.param]}


@pytest.fixture(scope="module")
def mixture(data):
    return draw_mixtures(data, "validation", "split", n=5).mixture


# what they are worth


@pytest.mark.parametrize("case", SHORT)
def test_a_short_fit_beats_the_average(case, data):
    task, settings, margin = SHORT[case]
    kinds = [0, 1] if task == "split" else [0, 0]
    mixtures = draw_mixtures(data, "validation", task, n=N)
    method = fitted(case.partition("-")[0], data, kinds=kinds, **settings)
    assert psnr(mixtures, method) > psnr(mixtures, "average") + margin


@pytest.mark.slow
def test_adversarial_beats_the_average(data):
    mixtures = draw_mixtures(data, "validation", "agnostic", n=20)
    settings = {"width": 0.5, "latent": 32, "batch": 32, "steps": 900, "search": 100, "refine": 200}
    assert psnr(mixtures, fitted("adversarial", data, **settings)) > psnr(mixtures, "average") + 0.2


def test_methods_without_knowledge_are_worse_than_the_average(data):
    mixtures = draw_mixtures(data, "validation", "agnostic", n=N)
    average = psnr(mixtures, "average")
    for method in ("blind", fitted("nmf", data, components=10)):
        assert 7 < psnr(mixtures, method) < average - 1


# nonnegative factors


def dictionary_problem(atoms):
    """Sources that are nonnegative sums of the atoms (2, R, 64) of their kind, and their mixture."""
    h = torch.rand(6, 2, atoms.shape[1], generator=torch.Generator().manual_seed(1)).to(atoms)
    x = torch.einsum("bkr,krd->bkd", h, atoms).reshape(6, 2, *SHAPE)
    return x, basis.WeightedSum([0.5, 1.5])(x)


def test_nmf_recovers_sources_that_lie_in_its_dictionaries():
    atoms = torch.rand(2, 4, 64, generator=torch.Generator().manual_seed(0))
    atoms[0, :, 40:], atoms[1, :, :24] = 0, 0  # they overlap in 16 pixels of 64
    nmf = choose("nmf", {"shape": SHAPE, "kinds": [0, 1], "components": 4, "sweeps": 5_000})
    nmf.atoms.copy_(atoms)
    nmf.learned.fill_(1)
    x, m = dictionary_problem(0.1 * atoms)
    mixing = basis.WeightedSum([0.5, 1.5])
    found = basis.separate(m, PRIOR, mixing, nmf).sources
    torch.testing.assert_close(found, x, rtol=0, atol=1e-3)
    average = basis.separate(m, PRIOR, mixing, "average").sources
    assert (average - x).abs().max() > 0.1


def test_nmf_learns_a_dictionary_that_explains_its_images():
    atoms = torch.zeros(3, 64)
    atoms[0, :20], atoms[1, 20:40], atoms[2, 40:] = 0.9, 0.7, 0.5
    weights = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    nmf = choose("nmf", {"shape": SHAPE, "components": 3, "iterations": 500})
    (progress,) = nmf.fit([(weights @ atoms).reshape(200, *SHAPE)])
    assert progress.loss < 1e-5
    learned = torch.nn.functional.normalize(nmf.atoms[0], dim=1)
    cosines = learned @ torch.nn.functional.normalize(atoms, dim=1).T
    torch.testing.assert_close(cosines.amax(0), torch.ones(3), rtol=0, atol=0.01)


def test_blind_finds_blocks_of_rank_one():
    """Two rank-one images without common rows or columns are the two atoms of their sum."""
    x = torch.zeros(1, 2, *SHAPE)
    x[0, 0, 0, :4, :4] = torch.outer(torch.arange(1.0, 5), torch.arange(4.0, 0, -1)) / 16
    x[0, 1, 0, 4:, 4:] = torch.outer(torch.arange(4.0, 0, -1), torch.arange(1.0, 5)) / 16
    found = basis.separate(SUM(x), PRIOR, SUM, "blind", components=2).sources
    exact = basis.reorder(found, basis.align(found, x))
    torch.testing.assert_close(exact, x, rtol=0, atol=1e-3)


@pytest.mark.parametrize("method", ["nmf", "blind"])
def test_masks_keep_the_mixture_and_any_k(method, data):
    method = fitted("nmf", data, **TINY["nmf"]) if method == "nmf" else method
    for alphas in ([1.0, 1.0], [0.2, 0.5, 0.3]):
        mixing = basis.WeightedSum(alphas)
        m = draw_mixtures(data, "validation", sources=len(alphas), n=3, weights=alphas).mixture
        found = basis.separate(m, PRIOR, mixing, method)
        assert found.residual.max() < 1e-9
        assert (found.sources - basis.separate(m, PRIOR, mixing, "average").sources).abs().max() > 0.1
    blank = basis.separate(torch.zeros(SHAPE), PRIOR, SUM, method).sources
    assert torch.equal(blank, torch.zeros(1, 2, *SHAPE))


# regression


def test_supervised_loss_is_permutation_invariant_among_sources_of_one_kind():
    x, estimate = torch.rand(2, 4, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
    alike = choose("supervised", {"shape": SHAPE, "kinds": [0, 0, 0], "widths": [8]})
    level = 10 * torch.log10((estimate[:, :, None] - x[:, None]).flatten(3).square().mean(3) + 1e-4)
    orders = list(itertools.permutations(range(3)))
    best = torch.stack([torch.stack([level[:, order[k], k] for k in range(3)]).mean(0) for order in orders]).amin(0)
    torch.testing.assert_close(alike.loss(estimate, x), best.mean())
    for order in orders:
        torch.testing.assert_close(alike.loss(estimate[:, list(order)], x), best.mean())
    two_kinds = choose("supervised", {"shape": SHAPE, "kinds": [0, 1, 0], "widths": [8]})
    same = two_kinds.loss(estimate, x)
    torch.testing.assert_close(two_kinds.loss(estimate[:, [2, 1, 0]], x), same)
    assert (two_kinds.loss(estimate[:, [1, 0, 2]], x) - same).abs() > 1e-3
    assert two_kinds.loss(x, x).item() == pytest.approx(-40)


def test_supervised_estimates_mix_to_the_mixture():
    mixing = basis.WeightedSum([0.3, 0.7])
    method = choose("supervised", {"shape": SHAPE, "alphas": [0.3, 0.7], "widths": [8, 8]})
    m = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    x = method(m)
    torch.testing.assert_close(mixing(x), m, rtol=0, atol=1e-6)
    assert (x - mixing.project(torch.zeros_like(x), m)).abs().max() > 1e-3  # and are not the average


def test_neural_egg_never_sees_the_unseen_source(data):
    """Without supervision x reaches the fit through mixtures alone, of half of b's images that b's samples lack."""
    method = fitted("neural_egg", data, **TINY["neural_egg"])
    seen = []
    method._learn = lambda b, x, *rest: iter([seen.append((b, x))])
    b, x = images(data, (0, 1))
    list(itertools.islice(method.learn([b, x]), 1))
    samples, estimate = seen[0]
    pixels = {tuple(row) for row in (b[: len(b) // 2].flatten(1)).tolist()}
    assert {tuple(row) for row in (samples.flatten(1) * 255).round().int().tolist()} <= pixels
    mixed = (2 * estimate * 255).round().int().flatten(1)
    others = b[len(b) // 2 :].flatten(1).int()
    differences = mixed[0] - others  # mixture 0 less each image of b: one of them leaves an image of x
    unseen = {tuple(row) for row in x.flatten(1).tolist()}
    assert sum(tuple(row) in unseen for row in differences.tolist()) == 1


def test_neural_egg_masks_and_projects(data):
    method = fitted("neural_egg", data, **TINY["neural_egg"])
    mixtures = draw_mixtures(data, "validation", "split", n=20)
    m = mixtures.mixture
    mask = method.network(m)
    assert ((mask > 0) & (mask < 1)).all()
    found = basis.separate(m, PRIOR, SUM, method)
    expected = torch.stack([mask * m, (1 - mask) * m], 1).clamp(0, 1)
    torch.testing.assert_close(found.sources, expected, rtol=0, atol=1e-6)
    assert found.residual.max() > 1e-4  # of what was clamped
    method.project = True
    projected = basis.separate(m, PRIOR, SUM, method)
    assert projected.residual.max() < 1e-9
    assert basis.psnr(projected, mixtures.sources).mean() > basis.psnr(found, mixtures.sources).mean()


# GAN priors


def test_adversarial_finds_what_its_generator_made():
    """Sources in the generator's range are found again from the best of many starts, for any K and weights."""
    method = choose("adversarial", {"shape": SHAPE, "width": 0.1, "latent": 2, "restarts": 8, "search": 100})
    method.learned.fill_(1)
    for parameter in method.parameters():
        parameter.data *= 8  # a generator whose codes matter
    method.requires_grad_(False)
    for alphas in ([1.0, 1.0], [0.3, 0.7]):
        mixing = basis.WeightedSum(alphas)
        z = torch.randn(2, len(alphas), 2, generator=torch.Generator().manual_seed(0))
        m = mixing(method.images(z))
        found = basis.separate(m, PRIOR, mixing, method)
        average = basis.separate(m, PRIOR, mixing, "average")
        spread = m.flatten(1).var(1)
        assert (found.residual < 0.05 * spread).all(), (found.residual, spread)
        truth = method.images(z)
        gain = basis.psnr(found, truth) - basis.psnr(average, truth)
        assert gain.mean() > 3


def test_adversarial_generator_comes_closer_to_the_data(data):
    """The mean of the generated images becomes that of the data."""
    method = choose(
        "adversarial",
        {"shape": SHAPE, "width": 0.2, "latent": 16, "steps": 150, "batch": 32, "gan_rate": 2e-3, "critic_steps": 2},
    )
    z = torch.randn(200, 1, 16, generator=torch.Generator().manual_seed(0))
    mean = images(data, (0, 0))[0].float().mean(0) / 255
    error = []
    for _ in range(2):
        with torch.no_grad():
            error.append((method.images(z).mean((0, 1)) - mean).square().mean().sqrt().item())
        for _ in method.fit(images(data, (0, 0))) if len(error) == 1 else ():
            pass
    assert error[1] < 0.3 * error[0]


# what holds for all that learn


def test_saved_and_loaded_it_is_the_same(tiny, mixture, tmp_path):
    method, arguments = tiny
    folder = save_separator(method, arguments, tmp_path / "fit", {"data": "digits"})
    again = load_separator(folder)
    assert type(again) is type(method)
    assert {path.name for path in folder.iterdir()} == {".basis.json", "model.safetensors", "card.json"}
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    one, two = (basis.separate(mixture, PRIOR, SUM, each, seed=3).samples for each in (method, again))
    assert torch.equal(one, two)


def test_the_seed_fixes_the_fit(tiny, data):
    method, _ = tiny
    name = SEPARATORS.name_of(type(method))
    torch.manual_seed(5)  # whatever the global state
    again, other = fitted(name, data, **TINY[name]), fitted(name, data, **TINY[name], seed=1)
    state = method.state_dict()
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in state.items())
    assert not all(torch.equal(value, other.state_dict()[key]) for key, value in state.items())


def test_batch_size_changes_nothing(tiny, mixture):
    whole = basis.separate(mixture, PRIOR, SUM, tiny[0], samples=2)
    for size in (1, 2):
        parts = basis.separate(mixture, PRIOR, SUM, tiny[0], samples=2, batch_size=size)
        torch.testing.assert_close(parts.samples, whole.samples, rtol=0, atol=1e-6)


def test_only_some_settings_can_change_after_the_fit(tiny, tmp_path):
    method, arguments = tiny
    folder = save_separator(method, arguments, tmp_path / "fit")
    own = {"nmf": ("sweeps", 3), "adversarial": ("refine", 9)}.get(SEPARATORS.name_of(type(method)), ("batch", 9))
    assert getattr(load_separator(folder, **dict([own])), own[0]) == own[1]
    big = {"nmf": {"components": 5}, "supervised": {"widths": [16, 8]}}.get(
        SEPARATORS.name_of(type(method)), {"width": 0.5}
    )
    with pytest.raises(basis.UsageError, match=r"do not fit what .* has learned .*To fix: fit the method with them"):
        load_separator(folder, **big)
    with pytest.raises(basis.UsageError, match=r"unknown setting of method .*: 'sweep_'"):
        load_separator(folder, sweep_=1)


# errors


def refused(error, message, call):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TINY)
def test_what_has_not_learned_says_how_to(name):
    kinds = {"kinds": [0, 1]} if name == "neural_egg" else {}
    method = choose(name, {"shape": SHAPE, **kinds})
    message = rf"'{name}' has to learn .*To fix: run `basis fit {name} .*`, then give --method FOLDER"
    refused(basis.UsageError, message, lambda: basis.separate(torch.ones(SHAPE), PRIOR, SUM, method))
    # Stopped half-way it has not learned either.
    next(method.fit([torch.rand(70, *SHAPE)] * len(set(method.kinds))))
    refused(basis.UsageError, message, lambda: basis.separate(torch.ones(SHAPE), PRIOR, SUM, method))


def test_other_problems_than_learned_are_refused(tiny):
    method, _ = tiny
    name = SEPARATORS.name_of(type(method))
    small = Constant((1, 4, 4))
    message = rf"'{name}' has learned 2 sources of shape \(1, 8, 8\), got 2 of \(1, 4, 4\).*To fix: fit it"
    refused(basis.UsageError, message, lambda: basis.separate(torch.ones(1, 4, 4), small, SUM, method))
    three, other = basis.WeightedSum([1.0] * 3), basis.WeightedSum([0.4, 0.6])
    if name in ("supervised", "neural_egg"):
        message = {"supervised": "with weights 1,1, got 3 sources.*anew", "neural_egg": "got 3 of"}[name]
        refused(basis.UsageError, message, lambda: basis.separate(torch.ones(SHAPE), PRIOR, three, method))
        message = "mixtures of 2 sources with weights 1,1, got weights 0.4,0.6.*To fix: fit it anew"
        refused(basis.UsageError, message, lambda: basis.separate(torch.ones(SHAPE), PRIOR, other, method))
    else:
        for mixing in (three, other):  # these know sources, not mixings
            found = basis.separate(torch.full(SHAPE, 0.9), PRIOR, mixing, method)
            assert found.sources.shape[1] == mixing.sources


@pytest.mark.parametrize("name", ["nmf", "blind"])
def test_masks_need_a_weighted_sum_with_positive_weights(name, data):
    method = fitted("nmf", data, **TINY["nmf"]) if name == "nmf" else name
    negative = basis.WeightedSum([1.0, -0.5])
    message = f"method '{name}' needs positive weights, got 1,-0.5"
    refused(basis.UsageError, message, lambda: basis.separate(torch.full(SHAPE, 0.5), PRIOR, negative, method))
    message = f"method '{name}' needs a weighted sum of its sources, got Clipped"
    clipped = basis.Clipped([1.0, 1.0])
    refused(basis.UsageError, message, lambda: basis.separate(torch.full(SHAPE, 0.5), PRIOR, clipped, method))


BAD_FITS = {
    "kinds": ("nmf", {"kinds": [0, 2]}, None, basis.UsageError, r"numbered from 0, got \[0, 2\]"),
    "one kind for the egg": ("neural_egg", {"kinds": [0, 0]}, None, basis.UsageError, "--task split"),
    "weights": ("supervised", {"alphas": [1.0]}, None, basis.UsageError, "expected 2 weights"),
    "negative weight": ("neural_egg", {"alphas": [1, -1]}, None, basis.UsageError, "two positive weights"),
    "restarts": (
        "adversarial",
        {"restarts": 0},
        None,
        basis.UsageError,
        "'restarts' of method .* takes a whole",
    ),
    "components": (
        "blind",
        {"components": 0},
        None,
        basis.UsageError,
        "'components' of method .* takes a whole",
    ),
    "images": ("nmf", {}, [torch.rand(3, 1, 4, 4)], basis.DataError, r"expected training examples \(N, 1, 8, 8\)"),
    "no images": ("nmf", {}, [torch.rand(0, *SHAPE)], basis.DataError, "expected training examples"),
    "8 bits as floats": ("nmf", {}, [torch.full((3, *SHAPE), 255.0)], basis.DataError, r"outside \[0, 1\]"),
    "kinds of images": ("nmf", {}, [torch.rand(3, *SHAPE)] * 2, basis.UsageError, "examples of 1 kinds, got 2"),
}


@pytest.mark.parametrize("case", BAD_FITS)
def test_bad_fits(case):
    name, settings, given, error, message = BAD_FITS[case]
    settings = settings if name == "blind" else {"shape": SHAPE, **settings}
    refused(error, message, lambda: list(choose(name, settings).fit(given)))


def test_without_scikit_learn_there_is_a_remedy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.decomposition", None)
    message = r"needs scikit-learn\. To fix: pip install 'basis-separation\[digits\]'"
    refused(basis.UsageError, message, lambda: basis.separate(torch.ones(SHAPE), PRIOR, SUM, "blind"))


def test_draws_depend_on_the_seed_alone(data):
    pool = images(data, (0, 1))
    one, two = draw(pool, (0, 1), 4, (0, 7)), draw(pool, (0, 1), 4, (0, 7))
    assert torch.equal(one, two)
    assert one.shape == (4, 2, *SHAPE)
    assert one.max() <= 1
    assert not torch.equal(one, draw(pool, (0, 1), 4, (0, 8)))
    for k in range(2):
        known = {tuple(row) for row in pool[k].flatten(1).tolist()}
        assert {tuple(row) for row in (one[:, k].flatten(1) * 255).round().int().tolist()} <= known
