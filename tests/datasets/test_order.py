"""The order of rows: a pure function of seed and pass, in which every row comes equally often."""

from collections import Counter
from itertools import chain
from typing import Any

import numpy as np
import pytest

from animateanywhere.datasets.ahead import Ahead
from animateanywhere.datasets.order import Order

BUCKETS = [np.arange(10), np.arange(10, 13), np.arange(13, 40)]


def read(order: Order, passes: range, batch: int) -> list[list[int]]:
    return [order.rows(number, batch)[1].tolist() for number in passes]


def flat(rows: list[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(rows))


def test_a_pass_depends_only_on_seed_and_number() -> None:
    rows = read(Order(BUCKETS, 1), range(60), 4)
    assert [Order(BUCKETS, 1).rows(n, 4)[1].tolist() for n in (59, 3, 41)] == [
        rows[59], rows[3], rows[41]]  # fmt: skip
    assert read(Order(BUCKETS, 2), range(60), 4) != rows


def test_all_rows_of_a_pass_are_of_one_bucket() -> None:
    for number in range(50):
        bucket, rows = Order(BUCKETS, 0).rows(number, 6)
        assert set(rows.tolist()) <= set(BUCKETS[bucket].tolist())


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_a_step_has_the_same_rows_for_any_number_of_processes(processes: int) -> None:
    """Each process does every n-th pass, as `training.loop` numbers them."""
    order = Order(BUCKETS, 3)
    whole = [sorted(flat(read(order, range(4 * step, 4 * step + 4), 2))) for step in range(30)]
    for step in range(30):
        own = [read(order, range(4 * step + rank, 4 * step + 4, processes), 2)
               for rank in range(processes)]  # fmt: skip
        assert sorted(flat(flat(own))) == whole[step]


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_every_row_is_read_equally_often(batch: int) -> None:
    order, passes = Order(BUCKETS, 5), 1200
    rows = read(order, range(passes), batch)
    counts = Counter(flat(rows))
    assert sum(counts.values()) == passes * batch
    for bucket in BUCKETS:
        own = [counts[row] for row in bucket.tolist()]
        assert max(own) - min(own) <= 1
    mean = passes * batch / 40
    assert min(counts.values()) > 0.9 * mean and max(counts.values()) < 1.1 * mean


def test_buckets_are_drawn_by_their_share_and_are_mixed() -> None:
    order = Order(BUCKETS, 6)
    drawn = np.array([order.rows(number, 2)[0] for number in range(400)])
    shares = np.bincount(drawn) / len(drawn)
    np.testing.assert_allclose(shares, [10 / 40, 3 / 40, 27 / 40], atol=0.01)
    assert len(set(drawn[:16].tolist())) == 3


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_any_number_of_readers_reads_the_same(workers: int) -> None:
    order = Order(BUCKETS, 1)
    read_ahead = Ahead(lambda number: order.rows(number, 3)[1].tolist(), workers)
    for passes in (range(20), range(40, 80, 2), [7, 3, 50, 51, 52]):  # resumed, shared, at random
        assert [read_ahead(number) for number in passes] == [
            Order(BUCKETS, 1).rows(number, 3)[1].tolist() for number in passes]  # fmt: skip


def test_an_error_of_a_reader_is_raised_where_it_is_asked_for() -> None:
    def fetch(number: int) -> int:
        if number == 3:
            raise ValueError("damaged")
        return number

    read_ahead = Ahead(fetch, 2)
    assert [read_ahead(number) for number in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="damaged"):
        read_ahead(3)
    assert read_ahead(4) == 4
