"""What the tests of reproduction share."""

import pytest

from basis.paper.job import Job

pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")
AVERAGE = Job("digits", method="average", prior="flat")
OWN = '''
"""Halves with the left half of the image in the first source."""

import torch

import basis
from basis.core.separator import separation


class Sides(basis.Separator):
    """Left half, right half."""

    def stream(self, problem, noise):
        yield from ()
        x = problem.mixture[:, None].repeat(1, 2, 1, 1, 1) / 2
        x[:, 0, ..., x.shape[-1] // 2 :] = 0
        x[:, 1] = problem.mixture - x[:, 0]
        return separation(problem, x)
'''
RARE = """
import time

import basis
import torch
from basis.core.sampler import State
from basis.core.separator import separation


class Rare(basis.Separator):
    def stream(self, problem, noise):
        x = torch.zeros(len(problem.mixture), *problem.prior.shape)
        for step in range(50, 1001, 50):
            yield State(x, sigma=0.0, level=1, levels=1, step=step, steps=1000)
        return separation(problem, x)
"""


def finish(generator):
    """Run to the end and return what comes out."""
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            return stop.value
