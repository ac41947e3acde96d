"""Fashion-MNIST in its published IDX files."""

from __future__ import annotations

from basis.datasets._idx import IDX


class FashionMNIST(IDX):
    """Fashion-MNIST, articles of clothing, 1×28×28: 55,000 train, 5,000 validation, 10,000 test (Xiao et al. 2017).

    Labels 0 to 9: T-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot. The files have
    MNIST's names, and are told from them by the hashes of the published `.gz`; unpacked files have to lie in (a
    subfolder of) one of `fashion-mnist/`, `FashionMNIST/`, `fashion_mnist/` or `fashion/`.
    """

    title = "Fashion-MNIST"
    folders = ("fashion-mnist", "FashionMNIST", "fashion_mnist", "fashion")
    url = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    gz_md5 = {  # README of github.com/zalandoresearch/fashion-mnist
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    }
