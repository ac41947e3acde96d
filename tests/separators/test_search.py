"""search and budgets: the posterior's mean and modes against closed forms, and what is spent, counted."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import basis
from basis.cli import app
from basis.core.prior import ScorePrior
from basis.io.presets import names, published, resolve, table
from basis.priors.edm import EDM
from basis.separators.search import Search
from closed_forms import GAUSSIAN_3D, build, exact

SUM = basis.WeightedSum([1.0, 1.0])


class Counted(ScorePrior):
    """A prior that counts the examples it is asked about."""

    def __init__(self, prior):
        super().__init__(prior.shape, prior.data_range, prior.levels)
        self.prior, self.calls = prior, 0

    def score(self, x, sigma):
        self.calls += len(x)
        return self.prior.score(x, sigma)


@pytest.fixture
def counted(edm):
    return Counted(edm)


@pytest.fixture
def images():
    return 2 * torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_the_mean_of_the_mode_is_the_posterior_mean():
    # One mode: the mean of 64 exact samples, within 5 standard errors of the exact posterior mean.
    m, alphas = [0.1, -0.2, 0.6], [1.0, -0.5]
    _, means, H = exact([GAUSSIAN_3D] * 2, alphas, m, 0.0, 0.2)
    parts = {"posterior": "mmps", "noise": 0.2, "eta": 1.0}
    schedule = {"steps": 60, "sigma_max": 3.0, "rho": 7.0, "noise_correlation": 0.0}
    method = Search(64, batch=64, agree=65, same=10.0, parts=parts, **schedule)
    found = basis.separate(torch.tensor(m), build(GAUSSIAN_3D), basis.WeightedSum(alphas), method)
    deviation = np.sqrt(np.linalg.inv(H[0]).diagonal())
    assert np.abs((found.sources[0].flatten().numpy() - means[0]) / (deviation / 8)).max() < 5
    np.testing.assert_allclose(found.modes[0].spread[0].flatten(), deviation, rtol=0.4)
    best = basis.separate(
        torch.tensor(m), build(GAUSSIAN_3D), basis.WeightedSum(alphas),
        Search(8, batch=8, agree=9, same=10.0, mean=False, parts=parts, **schedule),
    )  # fmt: skip
    assert np.abs((best.sources[0].flatten().numpy() - means[0]) / (deviation / 8)).max() > 5


def four(likelier):
    """Four grey levels: 1 is 0.35 + 0.65 or 0 + 1, with these odds; 0.35 is 0 + 0.35 alone."""
    means = torch.tensor([0.0, 0.35, 0.65, 1.0]).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    weights = torch.tensor([1.0, likelier, likelier, 1.0])
    return basis.GaussianMixture(weights, means, 4e-4 * torch.eye(4).expand(4, 4, 4))


def test_modes_have_the_weights_of_the_posterior():
    mixture, n = torch.ones(4, 1, 2, 2), 60
    settings = {"steps": 40, "noise_correlation": 0.0, "temperature": 1.0, "same": 0.1}
    found = basis.separate(mixture, four(1.5), SUM, "search", candidates=n, batch=n, agree=n + 1, **settings)
    for modes, sources in zip(found.modes, found.sources, strict=True):
        pairs = [sorted(mean.mean((1, 2, 3)).tolist()) for mean in modes.mean]
        np.testing.assert_allclose(pairs, [[0.35, 0.65], [0.0, 1.0]], atol=0.03)
        assert modes.counts[0] > 4 * modes.counts[1]  # the rarer is found more rarely still
        torch.testing.assert_close(sources, SUM.project(modes.mean[:1], mixture[:1])[0])
    weights = torch.stack([modes.rank_weights[0] for modes in found.modes])
    assert abs(weights.mean().item() - 2.25 / 3.25) < 0.1


@pytest.mark.parametrize("likelier", [1.5, 0.53])
def test_an_exact_rank_has_weights_of_the_posterior_by_default(likelier):
    """p(0.35 + 0.65) : p(0 + 1) is likelier² : 1, for 0.53 that is 0.22 and 0.78; the pairs are equally wide."""
    truth = likelier**2 / (1 + likelier**2)
    found = basis.separate(
        torch.ones(4, 1, 2, 2), four(likelier), SUM, "search", candidates=60, batch=60, agree=61, steps=40,
        noise_correlation=0.0, same=0.1,
    )  # fmt: skip
    weights = []
    for modes in found.modes:
        assert len(modes.counts) == 2
        first = 0 if abs(modes.mean[0].mean((1, 2, 3)) - 0.5).max() < 0.3 else 1  # where 0.35 + 0.65 is
        weights.append(modes.rank_weights[first].item())
    assert abs(np.mean(weights) - truth) < 0.07


def test_the_temperature_changes_no_answer():
    settings = {"candidates": 12, "batch": 12, "agree": 13, "steps": 20, "noise_correlation": 0.0, "same": 0.1}
    cold, warm = (
        basis.separate(torch.ones(1, 1, 2, 2), four(1.5), SUM, "search", temperature=t, **settings) for t in (1.0, 4.0)
    )
    assert torch.equal(cold.sources, warm.sources)
    ratio = [modes.rank_weights.log().diff().abs().item() for modes in (cold.modes[0], warm.modes[0])]
    assert ratio[0] == pytest.approx(4 * ratio[1], rel=1e-3)


def test_plain_mixtures_cost_less():
    # The likelier answer, 0 + 1, is the one that is found less often: one in its mode is no agreement.
    mixture = torch.tensor([0.35, 1.0]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2).repeat(8, 1, 1, 1)
    settings = {"candidates": 8, "batch": 1, "agree": 3, "steps": 20, "noise_correlation": 0.0, "same": 0.1}
    found = basis.separate(mixture, four(0.6), SUM, "search", **settings)
    plain, ambiguous = found.evaluations[::2].float(), found.evaluations[1::2].float()
    assert (plain == 3 * 21).all()
    assert ambiguous.mean() > 4 * 21
    assert found.evaluations.max() <= 8 * 21
    eager = basis.separate(mixture, four(0.6), SUM, "search", **{**settings, "agree": 9})
    assert (eager.evaluations == 8 * 21).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"candidates": 5, "batch": 2, "agree": 2, "same": 0.3},
        {"candidates": 3, "batch": 3, "rounds": 2, "offspring": 2, "refine_steps": 4},
        {"candidates": 2, "sampler": "heun", "rank": "denoising", "noise_correlation": 0.0},
        {"candidates": 3, "batch": 3, "sampler": "annealed_langevin", "repeats": 2, "denoise": True},
        {"candidates": 2, "sampler": "predictor_corrector"},
        {"candidates": 4, "posterior": "mmps", "iterations": 1},
    ],
    ids=str,
)
def test_what_is_spent_is_what_the_network_is_asked(settings, counted, images):
    method = Search.configured({"steps": 5, **settings})
    backward = 2 if settings.get("posterior") == "mmps" else 1  # a backward pass counts as an evaluation
    found = basis.separate(images, counted, SUM, method, samples=2)
    ranking = 6 * 2 * sum(int(modes.counts.sum()) for modes in found.modes) if backward == 2 else 0
    assert 2 * int(found.evaluations.sum()) == backward * (counted.calls - ranking) + ranking


@pytest.mark.parametrize("budget", [1, 20, 50, 100, 150, 192])
def test_no_budget_is_exceeded_and_little_is_left(budget, counted, images):
    basis.separate(images[:1], counted, SUM, budget=budget)
    assert budget - 4 <= counted.calls / 2 <= budget


def test_all_budgets_add_up():
    for budget in range(1, 3000):
        method, settings = table().within(budget, 2)
        spent = settings["steps"] if method == "sample" else settings["candidates"] * (settings["steps"] + 6)
        assert 0.93 * budget <= spent <= budget
        assert settings["steps"] >= 1


def test_budgets_of_colour_add_up():
    for budget in range(3, 3000):
        method, settings = table("photographs").within(budget, 2)
        cost = 3 * settings["steps"]
        spent = cost if method == "sample" else settings["candidates"] * (cost + 6)
        assert spent <= budget < spent + 3 * settings.get("candidates", 1) + settings.get("candidates", 1)
        assert settings["steps"] >= 1
    with pytest.raises(basis.UsageError, match="takes 3 evaluations"):
        table("photographs").within(2, 2)


def test_presets_of_several_photographs(images):
    """They match moments; others are projected."""
    arguments = {"shape": [3, 8, 8], "widths": [8], "blocks": [1], "attention": [False], "mean": 0.5, "std": 0.25}
    prior = Counted(EDM(**arguments))
    prior.presets = table("photographs")
    mixture = images[:1].expand(-1, 3, -1, -1)
    for name, most in (("fast", 96), ("quality", 612)):
        method, settings = resolve(name, {}, priors=[prior, prior])
        assert settings["posterior"] == "mmps"
        never = {} if name == "fast" else {"agree": 99}  # no search ends before its last candidate
        assert basis.separate(mixture, prior, SUM, method, **{**settings, **never}).evaluations.tolist() == [most]
    found, (method, settings) = basis.separate(mixture, prior, SUM, "fast"), resolve("fast", {}, priors=[prior, prior])
    assert torch.equal(found.samples, basis.separate(mixture, prior, SUM, method, **settings).samples)
    assert resolve("paper", {}, priors=[prior, prior]) == ("basis", {})


def test_presets_of_one_photograph(images):
    arguments = {"shape": [3, 8, 8], "widths": [8], "blocks": [1], "attention": [False], "mean": 0.5, "std": 0.25}
    prior = Counted(EDM(**arguments))
    prior.presets = table("photographs")
    assert {name for name in names() if resolve(name, {}, priors=[prior]) != resolve(name, {})} == {"fast", "quality"}
    for way, most in (({"method": "fast"}, 20), ({"method": "quality"}, 100), ({"budget": 300}, 300)):
        prior.calls = 0
        basis.separate(images[:1, 0, None] / 2, prior, basis.Grayscale(), **way)
        assert prior.calls == most


def test_presets(images, counted, edm):
    for name, most in (("fast", 20), ("quality", 960)):
        method, settings = resolve(name, {})
        never = {} if name == "fast" else {"agree": 99}  # no search ends before its last candidate
        assert basis.separate(images[:1], edm, SUM, method, **{**settings, **never}).evaluations.tolist() == [most]
    basis.separate(images, counted, SUM, "fast")
    assert counted.calls == 3 * 2 * 20
    paper = basis.separate(images, edm, SUM, "paper", levels=2, steps=2)
    assert torch.equal(paper.samples, basis.separate(images, edm, SUM, basis.BASIS(levels=2, steps=2)).samples)


@pytest.mark.parametrize("way", [{"method": "fast"}, {"budget": 40}, {"budget": 220}, {"method": "quality"}], ids=str)
def test_presets_widen_with_the_data(way, images, edm):
    """Grey values from 0 to 255 are separated as the same images in [0, 1] are."""
    wide = basis.separate(255 * images, basis.Rescaled(edm, 1 / 255), SUM, **way)
    torch.testing.assert_close(wide.sources / 255, basis.separate(images, edm, SUM, **way).sources, rtol=0, atol=1e-3)


def test_what_is_done_where_no_method_is_named(edm, images):
    few = {"steps": 2}
    best = basis.separate(images, edm, SUM, "quality", **few)
    assert torch.equal(basis.separate(images, edm, SUM, **few).samples, best.samples)
    unbounded = build(GAUSSIAN_3D)
    m = torch.zeros(1, 3)
    paper = basis.separate(m, unbounded, SUM, "paper", levels=2, **few)
    assert torch.equal(basis.separate(m, unbounded, SUM, levels=2, **few).samples, paper.samples)
    assert published()["paper"]["method"] == "basis"
    with pytest.raises(basis.UsageError, match="a budget chooses the method"):
        basis.separate(images, edm, SUM, "fast", budget=20)
    with pytest.raises(basis.UsageError, match="budget of at least 1"):
        basis.separate(images, edm, SUM, budget=0)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_search_does_not_depend_on_the_others(batch, edm, images):
    settings = {"candidates": 4, "batch": batch, "agree": 2, "steps": 4, "rounds": 1, "same": 0.3, "refine_steps": 3}
    whole = basis.separate(images, edm, SUM, "search", **settings)
    for i in range(3):
        alone = basis.separate(images[i], edm, SUM, "search", index=[i], **settings)
        torch.testing.assert_close(alone.samples[0], whole.samples[i], rtol=0, atol=1e-4)
        assert alone.evaluations[0] == whole.evaluations[i]
        torch.testing.assert_close(alone.modes[0].rank_weights, whole.modes[i].rank_weights, rtol=0, atol=1e-3)
    parts = basis.separate(images, edm, SUM, "search", batch_size=2, **settings)
    assert torch.equal(parts.evaluations, whole.evaluations)
    assert len(parts.modes) == 3


def test_a_refinement_starts_from_the_best():
    # From almost no noise, the refined candidates stay in the mode of the best fresh one.
    found = basis.separate(
        torch.ones(3, 1, 2, 2), four(1.5), SUM, "search", candidates=2, agree=3, steps=20, rounds=3, offspring=4,
        refine_sigma=0.05, refine_steps=5, same=0.1,
    )  # fmt: skip
    for modes in found.modes:
        assert modes.counts.sum() == 14
        assert modes.counts.max() >= 13


BAD = {
    "candidates": ({"candidates": 0}, r"'candidates' of method 'search' takes a whole number \(at least 1, at most"),
    "agree": ({"agree": 1.5}, "'agree' of method 'search' takes a whole number"),
    "rounds": ({"rounds": -1}, r"'rounds' of method 'search' takes a whole number \(at least 0\), got -1"),
    "temperature": ({"temperature": 0}, "'temperature' of method 'search' takes a number"),
    "rank": ({"rank": "flows"}, "unknown rank 'flows'.*did you mean flow"),
    "setting": ({"et": 1.0}, "unknown setting of method 'search'.*'et'"),
    "noise_correlation": ({"noise_correlation": 1.5}, "'noise_correlation' of method 'search' takes a number"),
    "density": ({"rank": "likelihood", "steps": 2}, "a prior of kind EDM does not give"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings(case, edm):
    settings, message = BAD[case]
    with pytest.raises(basis.UsageError, match=message):
        basis.separate(torch.ones(1, 8, 8), edm, SUM, "search", **settings)


def test_on_the_command_line(tmp_path, arguments, edm):
    folder, mixture = basis.save_prior(edm, arguments, tmp_path / "prior"), tmp_path / "mixture.npy"
    np.save(mixture, np.full((1, 8, 8), 0.8, np.float32))
    command = ["separate", str(mixture), "--prior", str(folder), "--out", str(tmp_path / "out")]
    run = CliRunner().invoke(app, [*command, "--budget", "100"])
    assert run.exit_code == 0, run.output
    facts = json.loads((tmp_path / "out" / "mixture" / "result.json").read_text())
    assert (facts["method"], facts["evaluations"]) == ("search", 100)
    assert sum(facts["mode_rank_weights"]) == pytest.approx(1, abs=1e-5)
    assert CliRunner().invoke(app, [*command, "--method", "fast", "--overwrite"]).exit_code == 0
    facts = json.loads((tmp_path / "out" / "mixture" / "result.json").read_text())
    assert (facts["method"], facts["settings"]["steps"]) == ("sample", 20)
    assert "quality" in CliRunner().invoke(app, ["list"]).output
    refused = CliRunner().invoke(app, [*command, "--budget", "100", "--method", "fast"])
    assert refused.exit_code != 0
