"""`basis count`."""

import numpy as np
from PIL import Image

import basis
from cli.shared import fails

QUICK = ("--method", "sample", "--set", "steps=2")


def test_count_says_what_python_does(cli, prior, tmp_path):
    mixtures = np.random.default_rng(0).uniform(0, 2, (2, 1, 8, 8)).astype(np.float32)
    np.save(tmp_path / "mix.npy", mixtures)
    image = (mixtures[0, 0] * 127).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "mean.png")
    result = cli("count", tmp_path, "--prior", prior, "--most", 2, "--seed", 3, *QUICK)
    assert result.code == 0
    loaded = basis.load_prior(prior)
    for name, mixture, mean in (("mix.npy", mixtures, False), ("mean.png", image[None] / np.float32(255), True)):
        found = basis.count_sources(mixture, loaded, 2, "sample", mean=mean, seed=3, steps=2)
        lines = [line for line in result.out.splitlines() if name in line]
        assert len(lines) == len(found.counts)
        for line, count, chances in zip(lines, found.counts.tolist(), found.chances.tolist(), strict=True):
            assert f": {count} source" in line
            assert f"1: {chances[0]:.3f}, 2: {chances[1]:.3f}" in line


def test_an_input_that_fails_does_not_stop_the_others(cli, prior, tmp_path):
    np.save(tmp_path / "bad.npy", np.full((1, 8, 8), np.nan, dtype=np.float32))
    np.save(tmp_path / "good.npy", np.ones((1, 8, 8), dtype=np.float32))
    result = cli("count", tmp_path, "--prior", prior, "--most", 1, *QUICK)
    assert result.code == 1
    assert "good.npy: 1 source (1: 1.000)" in result.out
    assert result.err[0].startswith(f"basis: {tmp_path / 'bad.npy'}: the mixture has NaN")
    fails(cli("count", tmp_path, "--prior", prior, "--most", 0, *QUICK), 2, "most >= 1", "for instance most=4")
