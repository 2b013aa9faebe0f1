"""Parts of hidden neurons: what is kept is what was put there, for as long as it is used."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bounds.checks import SETTINGS
from tests.bounds.graphs import boxes, mlp, placed
from tests.search.test_deepen import XP, deepened
from verifier.bounds import crown
from verifier.certify import Tightened, Tilts
from verifier.search import hidden_parts
from verifier.search.deep import _Told
from verifier.search.hidden_parts import Parts, Store
from verifier.tensors import numpy_backend, torch_backend

NEURONS = 7


def some(number: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    phase = number.integers(-1, 2, size=(count, NEURONS)).astype(np.float32)
    return phase, number.normal(size=phase.shape).astype(np.float32)


@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=8),
)
def test_what_is_taken_is_what_was_put(seed: int, moves: list[tuple[int, int]]):
    number, kept = np.random.default_rng(seed), dict[int, tuple[np.ndarray, np.ndarray]]()
    blocks, hidden_parts.BLOCK = hidden_parts.BLOCK, 16
    try:
        store = Store(NEURONS)
        for made, dropped in moves:
            phase, tilt = some(number, made)
            place = store.put(phase, tilt).tolist()
            assert not kept.keys() & set(place)
            kept |= {p: (phase[i], tilt[i]) for i, p in enumerate(place)}
            order = number.permutation(np.array(list(kept), dtype=np.int64))
            found = store.take(order)
            for i, p in enumerate(order.tolist()):
                assert np.array_equal(found[0][i], kept[p][0])
                assert np.array_equal(found[1][i], kept[p][1])
            gone = order[:dropped]
            store.drop(gone)
            for p in gone.tolist():
                del kept[p]
        # Places are used again: never more blocks than were needed at once.
        assert len(store._blocks) * 16 < sum(made for made, _ in moves) + 16
    finally:
        hidden_parts.BLOCK = blocks


def test_dropped_places_are_used_again():
    store, number = Store(NEURONS), np.random.default_rng(0)
    for _ in range(20):
        store.drop(store.put(*some(number, 500)))
    assert len(store._blocks) == 1


def test_there_is_room_for_so_many_bytes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hidden_parts, "MOST_BYTES", 5 * NEURONS * 100)
    store, number = Store(NEURONS), np.random.default_rng(0)
    assert store.room == 100
    place = store.put(*some(number, 60))
    assert store.room == 40
    store.drop(place[:10])
    assert store.room == 50
    store.put(*some(number, 70))
    assert store.room == 0


@pytest.mark.parametrize("make", [numpy_backend, torch_backend])
@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=12), most=st.integers(1, 20))
def test_parts_of_a_row_stay_together(make, counts: list[int], most: int):
    xp = make("float32")
    row = np.repeat(np.arange(len(counts)), counts)
    numbers = xp.floats(np.arange(len(row)) * 1.0)
    parts = Parts(xp.ints(row), xp.ints(np.arange(len(row))), numbers, xp.ints(row), numbers)
    groups = [xp.numpy(group.row) for group in parts.by_rows(most, xp)]
    assert np.concatenate(groups).tolist() == row.tolist()
    seen = [set(group.tolist()) for group in groups]
    assert all(not one & other for i, one in enumerate(seen) for other in seen[:i])
    assert all(len(group) < most + max(counts) for group in groups)


def told(count: int) -> Tightened:
    alpha = np.zeros((count, NEURONS), dtype=np.uint8)
    none = np.zeros(count, dtype=np.int64)
    return Tightened(0, 1, none, none, Tilts(np.arange(NEURONS), alpha))


def test_more_than_certificates_hold_is_not_kept():
    some = _Told(10 * NEURONS)
    for _ in range(2):
        some.append(told(5))
    assert len(some.found) == 2
    assert not some.too_much
    some.append(told(1))
    some.append(told(1))
    assert some.too_much
    assert some.found == []
    assert some.bytes == 12 * NEURONS


@pytest.mark.parametrize("bytes_", [0, 2000, 10**9])
def test_no_more_parts_are_made_than_there_is_room_for(bytes_: int, monkeypatch):
    """But for the neurons themselves; few parts still give sound boxes."""
    monkeypatch.setattr(hidden_parts, "MOST_BYTES", bytes_)
    graph = mlp(3, (8, 12, 12, 12, 1)).on(XP)
    box = placed(XP, *boxes("normal", [3], 1, 8))
    plain = crown(graph, box, SETTINGS).enclosure
    put, most = Store.put, list[tuple[int, int]]()

    def watched(self: Store, phase: np.ndarray, tilt: np.ndarray) -> np.ndarray:
        if self._used:
            most.append((len(phase), self.room))
        return put(self, phase, tilt)

    monkeypatch.setattr(Store, "put", watched)
    root = deepened(graph, plain, 64)
    assert all(count <= room for count, room in most)
    assert bool(most) == (bytes_ > 0)
    share = np.random.default_rng(0).random((500, 8))
    values = graph.values(box.lower + share * (box.upper - box.lower))
    for v in graph.relaxed_inputs:
        assert (values[v] >= root.boxes[v].lower - 1e-9).all()
        assert (values[v] <= root.boxes[v].upper + 1e-9).all()
