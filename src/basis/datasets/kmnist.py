"""Kuzushiji-MNIST in its published IDX files."""

from __future__ import annotations

from basis.datasets._idx import IDX


class KMNIST(IDX):
    """Kuzushiji-MNIST, cursive Japanese, 1×28×28: 55,000 train, 5,000 validation, 10,000 test (Clanuwat et al. 2018).

    Labels 0 to 9: o, ki, su, tsu, na, ha, ma, ya, re, wo. The files have MNIST's names, and are told from them by the
    hashes of the published `.gz`; unpacked files have to lie in (a subfolder of) `kmnist/` or `KMNIST/`.
    """

    title = "KMNIST"
    folders = ("kmnist", "KMNIST")
    url = "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"
    gz_md5 = {  # as torchvision.datasets.KMNIST has them
        "train-images-idx3-ubyte": "bdb82020997e1d708af4cf47b453dcf7",
        "train-labels-idx1-ubyte": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-images-idx3-ubyte": "5c965bf0a639b31b8f53240b1b52f4d7",
        "t10k-labels-idx1-ubyte": "7320c461ea6c1c855c0b718fb2a4b134",
    }
