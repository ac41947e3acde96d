"""MNIST in its published IDX files."""

from __future__ import annotations

from basis.datasets._idx import IDX


class MNIST(IDX):
    """MNIST handwritten digits, 1×28×28: 55,000 train, 5,000 validation, 10,000 test (LeCun et al. 1998).

    Reads `{train,t10k}-{images-idx3,labels-idx1}-ubyte`, plain or `.gz`, in the root, its `mnist/` or `MNIST/`, or
    `raw/` below, also named `train-images.idx3-ubyte`. Downloads them to `mnist/` where they are missing and the
    network allows.
    """

    title = "MNIST"
    folders = ("mnist", "MNIST")
    url = "https://ossci-datasets.s3.amazonaws.com/mnist/"
    md5 = {  # of the unpacked files: gzip bytes differ from mirror to mirror
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }
