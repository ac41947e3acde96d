"""The animation: of few states the frames as they are, of many few and small ones."""

import numpy as np
import pytest
import torch
from PIL import ImageChops

import basis
from basis.core.sampler import State
from basis.signals._film import KEPT, SHOWN, Film
from basis.signals._pictures import LARGEST_FRAME, frame

MIXING = basis.WeightedSum([1.0, 3.0])


def states(count, size=(8, 8), samples=1):
    """Yield states whose first pixel tells their number."""
    for i in range(count):
        x = torch.rand(2 * samples, 2, 1, *size, generator=torch.Generator().manual_seed(i)) * 1.4 - 0.2
        yield State(x, 1 / (1 + i), 1, 1, i + 1, count)


def film_of(count, **options):
    film = Film(2)
    for state in states(count, **options):
        film.add(state)
    return film


def same(one, two):
    return one.size == two.size and ImageChops.difference(one, two).getbbox() is None


@pytest.mark.parametrize("count", [1, 5, SHOWN])
def test_all_of_few_states_are_shown_as_they_are(count):
    mixture = torch.rand(2, 1, 8, 8) * 4
    shown = film_of(count, samples=3).frames(mixture, MIXING)
    assert [len(frames) for frames in shown] == [count, count]
    for i, state in enumerate(states(count, samples=3)):
        for b in (0, 1):  # of three samples each the first
            assert same(shown[b][i], frame(mixture[b], state.x[3 * b], 4.0, state.sigma))


@pytest.mark.parametrize("count", [81, 159, 401])
def test_of_many_states_few_are_shown_from_the_first_to_the_last_at_even_distances(count):
    film = film_of(count)
    frames = film.frames(torch.rand(2, 1, 8, 8), MIXING)[0]
    every = [frame(torch.zeros(1, 8, 8), state.x[0], 4.0, state.sigma) for state in states(count)]
    pictures = {picture.crop((128, 28, *picture.size)).tobytes(): i for i, picture in enumerate(every)}
    found = [pictures[picture.crop((128, 28, *picture.size)).tobytes()] for picture in frames]
    assert len(found) == SHOWN
    assert (found[0], found[-1]) == (0, count - 1)
    gaps = np.diff(found)
    assert gaps.min() > 0
    assert gaps.max() <= 3 * count / SHOWN
    assert len(film.kept) <= KEPT


def test_large_states_are_kept_small():
    film = film_of(130, size=(2 * LARGEST_FRAME, 32))
    kept = sum(x.numel() * x.element_size() for pictures, _ in film.kept for x in pictures)
    assert kept <= KEPT * 2 * 2 * LARGEST_FRAME * 16
    mixture = torch.rand(2, 1, 2 * LARGEST_FRAME, 32)
    last = film.frames(mixture, MIXING)[1][-1]
    *_, state = states(130, size=(2 * LARGEST_FRAME, 32))
    assert same(last, frame(mixture[1], state.x[1], 4.0, state.sigma))


def test_colours():
    film, x = Film(1), torch.rand(1, 2, 3, 2 * LARGEST_FRAME, 64)
    film.add(State(x, 1.0, 1, 1, 1, 1))
    ((shown,),) = film.frames(torch.rand(1, 3, 2 * LARGEST_FRAME, 64), MIXING)
    first = np.asarray(shown)[28:-8, 8 + 32 + 8 :][:, :32] / 255  # beside the mixture
    halved = torch.nn.functional.avg_pool2d(x[0, 0], 2).numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(first, halved, atol=1.5 / 255)


def test_a_run_without_states_has_no_animation():
    assert Film(2).frames(torch.rand(2, 1, 8, 8), MIXING) == [[], []]
