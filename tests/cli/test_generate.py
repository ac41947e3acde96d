"""`basis generate`."""

import numpy as np
from PIL import Image

import basis
from cli.shared import fails


def test_the_picture(cli, prior, tmp_path):
    result = cli("generate", prior, "--n", 3, "--seed", 2, "--out", tmp_path / "new" / "grid.png")
    assert (result.code, result.out.strip()) == (0, str(tmp_path / "new" / "grid.png"))
    image = np.asarray(Image.open(tmp_path / "new" / "grid.png").convert("L"))
    first = basis.generate(basis.load_prior(prior), n=3, seed=2)[0, 0]
    top, left, side = 8, 8, 112  # gap, gap, tile: no labels, and no room for them
    cut = image[top : top + side, left : left + side][7::14, 7::14]
    np.testing.assert_array_equal(cut, (first * 255).round().numpy().astype(np.uint8))
    fails(cli("generate", prior, "--out", tmp_path / "grid.txt"), 2, "expected a picture", ".png")
