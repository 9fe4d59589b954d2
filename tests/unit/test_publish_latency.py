"""Latency as it is kept: in buckets, by rows; a quantile is off by one bucket at most."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker_shard.publish.latency import RATIO, Latency
from ticker_shard.publish.limits import MS_NS, SECOND_NS


@given(st.lists(st.integers(1_000, 10**11), min_size=1, max_size=50), st.floats(0.01, 1.0))
def test_a_quantile_is_off_by_one_bucket_at_most(elapsed_ns, share):
    latency = Latency()
    latency.record(-np.array(elapsed_ns), acknowledged_ns=0)
    rank = int(np.ceil(share * len(elapsed_ns)))
    exact_ms = sorted(elapsed_ns)[rank - 1] / 1e6

    assert exact_ms / RATIO * 0.999 <= latency.quantile_ms(share) <= exact_ms * RATIO * 1.001


@pytest.mark.parametrize("elapsed_ns", [1, 999, 1_000, 1_001, 7 * MS_NS, 3_600 * SECOND_NS])
def test_rows_of_one_frame_are_measured_as_rows_of_many_are(elapsed_ns):
    together, apart = Latency(), Latency()

    together.record(np.full(200, -elapsed_ns), acknowledged_ns=0)
    for _ in range(100):
        apart.record(np.array([-elapsed_ns, -1]), acknowledged_ns=0)
        apart.record(np.array([-elapsed_ns, -2 * SECOND_NS]), acknowledged_ns=0)
    for other_ns in (-1, -2 * SECOND_NS):
        together.record(np.full(100, other_ns), acknowledged_ns=0)

    assert together.counts == apart.counts
    assert together.total_ns == apart.total_ns


def test_a_clock_that_stepped_back_and_no_rows_at_all_are_no_trouble():
    latency = Latency()
    assert latency.quantile_ms(0.5) is None

    latency.record(np.array([10]), acknowledged_ns=0)

    assert latency.count == 1
