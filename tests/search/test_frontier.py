"""The queue of open subproblems, against a plain list."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.search.frontier import Frontier, Lanes
from verifier.tensors import Backend, numpy_backend


@dataclass(frozen=True, eq=False)
class Items:
    """Rows with a margin and a name."""

    margin: np.ndarray
    name: np.ndarray

    def __len__(self) -> int:
        return len(self.margin)

    def __getitem__(self, index: np.ndarray | slice) -> "Items":
        return Items(self.margin[index], self.name[index])

    @property
    def bytes_each(self) -> int:
        return 16

    @staticmethod
    def cat(parts: Sequence["Items"], xp: Backend) -> "Items":
        margins, names = [p.margin for p in parts], [p.name for p in parts]
        return Items(np.concatenate(margins), np.concatenate(names))


def drive(frontier: Frontier[Items], moves: list[tuple[int, int]]) -> None:
    """Push and take by turns; nothing is lost, nothing is given twice."""
    generator, inside, made = np.random.default_rng(len(moves)), {}, 0
    for pushed, taken in moves:
        margin = generator.integers(-5, 5, size=pushed).astype(float)
        margin[margin == -5] = -np.inf
        frontier.push(Items(margin, np.arange(made, made + pushed)))
        inside |= dict(zip(range(made, made + pushed), margin.tolist(), strict=True))
        made += pushed
        least = min(inside.values(), default=np.inf)
        assert frontier.worst_margin == least
        crowded = frontier.crowded
        if inside:
            out = frontier.take(taken)
            assert len(out) == min(taken, len(inside))
            assert crowded or least in out.margin
            for name, margin_out in zip(out.name.tolist(), out.margin.tolist(), strict=True):
                assert inside.pop(name) == margin_out
        assert len(frontier) == len(inside)
    if inside:
        assert sorted(frontier.take(10**6).name.tolist()) == sorted(inside)
    assert len(frontier) == 0


MOVES = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=30)


@given(moves=MOVES, limit=st.sampled_from([0, 100, 10**9]))
def test_every_row_comes_back_once(moves: list[tuple[int, int]], limit: int):
    drive(Frontier(numpy_backend(), limit, Items.cat), moves)


def test_the_newest_rows_go_first_when_memory_is_short():
    frontier = Frontier(numpy_backend(), 100, Items.cat)
    for place in range(5):
        frontier.push(Items(np.full(4, float(place)), np.arange(4 * place, 4 * place + 4)))
    assert frontier.crowded
    assert set(frontier.take(2).name.tolist()) <= {16, 17, 18, 19}
    frontier.take(16)
    assert not frontier.crowded
    worst = frontier.worst_margin
    assert frontier.take(1).margin[0] == worst


@given(moves=MOVES)
def test_rows_that_are_taken_together_are_of_one_kind(moves: list[tuple[int, int]]):
    def make() -> Frontier[Items]:
        return Frontier(numpy_backend(), 10**9, Items.cat)

    lanes = Lanes(make, lambda rows: rows.name % 3, Items.cat)
    inside, made = dict[int, float](), 0
    for pushed, taken in moves:
        margin = np.random.default_rng(made).integers(-5, 5, size=pushed).astype(float)
        lanes.push(Items(margin, np.arange(made, made + pushed)))
        inside |= dict(zip(range(made, made + pushed), margin.tolist(), strict=True))
        made += pushed
        least = min(inside.values(), default=np.inf)
        assert lanes.worst_margin == least
        if inside:
            out = lanes.take(taken)
            assert least in out.margin
            assert len(set((out.name % 3).tolist())) == 1
            kind = out.name[0] % 3
            assert len(out) == min(taken, sum(name % 3 == kind for name in inside))
            for name, margin_out in zip(out.name.tolist(), out.margin.tolist(), strict=True):
                assert inside.pop(name) == margin_out
        assert len(lanes) == len(inside)
    if inside:
        assert sorted(np.concatenate([x.name for x in lanes.moved()]).tolist()) == sorted(inside)
    assert len(lanes) == 0
    assert lanes.worst_margin == np.inf


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=6),
    st.integers(1, 40),
    st.booleans(),
    st.booleans(),
)
def test_what_is_taken_over_is_what_was_open(
    pushed: list[int], taken: int, from_lanes: bool, to_lanes: bool
):
    xp, number = numpy_backend("float64"), np.random.default_rng(len(pushed))

    def make() -> Frontier[Items]:
        return Frontier(xp, 10**9, Items.cat)

    def open_(lanes: bool) -> Frontier[Items] | Lanes[Items]:
        return Lanes(make, lambda rows: rows.name % 3, Items.cat) if lanes else make()

    before, after, first = open_(from_lanes), open_(to_lanes), 0
    for count in pushed:
        names = np.arange(first, first + count)
        before.push(Items(number.normal(size=count), names))
        first += count
    gone = set(before.take(taken).name.tolist())
    left, worst = len(before), before.worst_margin
    assert sum(map(len, before.chunks())) == left
    after.take_over(before.moved())
    assert len(before) == 0
    assert (len(after), after.worst_margin) == (left, worst)
    names = list[int]()
    while len(after):
        names += after.take(7).name.tolist()
    assert sorted(names) == sorted(set(range(first)) - gone)


def test_what_is_open_is_moved_once():
    """Nothing would be open the second time, which would be taken for a proof."""
    frontier = Frontier(numpy_backend("float64"), 10**9, Items.cat)
    frontier.push(Items(np.zeros(3), np.arange(3)))
    assert sum(len(chunk) for chunk in frontier.moved()) == 3
    with pytest.raises(AssertionError):
        list(frontier.moved())


def test_a_frontier_is_cleared():
    frontier = Frontier(numpy_backend("float64"), 30, Items.cat)
    frontier.push(Items(np.zeros(3), np.arange(3)))
    assert frontier.crowded
    frontier.clear()
    assert len(frontier) == 0
    assert not frontier.crowded
    assert frontier.worst_margin == np.inf
