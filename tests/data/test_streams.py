"""Streams belong to samples: their numbers are random, and do not depend on the company."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchnet.data.streams import SampleStreams, current_generator, sample_streams
from scratchnet.random import default_generator

INDICES = st.lists(st.integers(0, 2**40), min_size=1, max_size=8, unique=True)


@given(
    seed=st.integers(0, 2**64 - 1), indices=INDICES, shapes=st.lists(st.sampled_from([(), (3,), (2, 2)]), max_size=4)
)
def test_a_row_depends_on_its_own_index_alone(seed, indices, shapes):
    together = SampleStreams(seed, indices)
    alone = [SampleStreams(seed, i) for i in indices]
    for i, shape in enumerate(shapes):
        draw = "random" if i % 2 else "standard_normal"
        rows = [getattr(stream, draw)((1, *shape)) for stream in alone]
        np.testing.assert_array_equal(
            getattr(together, draw)((len(indices), *shape)), np.concatenate(rows), strict=True
        )


def test_uniform_numbers_are_uniform_and_uncorrelated():
    u = SampleStreams(1, np.arange(1000)).random((1000, 64))
    assert u.min() >= 0 and u.max() < 1
    counts = np.histogram(u, bins=64, range=(0, 1))[0]
    chi2 = ((counts - 1000) ** 2 / 1000).sum()
    assert 30 < chi2 < 110, "63 degrees of freedom: outside with probability 1e-4"
    # Between neighbouring samples, neighbouring draws and neighbouring seeds: 5 standard errors of a correlation.
    v = SampleStreams(2, np.arange(1000)).random((1000, 64))
    for a, b in ((u[:-1], u[1:]), (u[:, :-1], u[:, 1:]), (u, v)):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


def test_normal_numbers_have_normal_moments():
    n = SampleStreams(3, np.arange(100)).standard_normal((100, 1000)).ravel()
    # Mean, variance, skewness and kurtosis, within 5 standard errors.
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((n**power).mean() - moment) < 5 * np.sqrt(variance / n.size)


def test_draws_must_have_a_row_a_sample():
    with pytest.raises(ValueError, match=r"draw for 3 samples at once, got a draw of shape \(2, 5\)"):
        SampleStreams(0, [4, 5, 6]).random((2, 5))


def test_the_streams_are_current_within_the_block():
    with sample_streams(5, [1, 2]):
        np.testing.assert_array_equal(current_generator().random((2,)), SampleStreams(5, [1, 2]).random((2,)))
    assert current_generator() is default_generator()
