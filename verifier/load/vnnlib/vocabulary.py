"""The words that the fast path knows, by their shapes: digits count as one digit, however many."""

from __future__ import annotations

import re
from enum import IntEnum, auto
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt

from verifier.load.vnnlib.decimals import Words
from verifier.load.vnnlib.names import Names
from verifier.records import dataclass
from verifier.spec.ragged import Integers

MAX_WORD = 16
MAX_MEMBERS = 16

# The number of an output of a 1.0 file while the number of inputs is not known; of no variable.
FIRST_OUTPUT = -1
NO_VARIABLE = -(2**31)

_TABLE_BITS = 12


class Kind(IntEnum):
    """What a token is. The comparisons and the operands are next to each other."""

    UNKNOWN = 0
    OPEN = auto()
    CLOSE = auto()
    ASSERT = auto()
    AND = auto()
    OR = auto()
    LESS_EQUAL = auto()
    LESS = auto()
    GREATER_EQUAL = auto()
    GREATER = auto()
    EQUAL = auto()
    NUMBER = auto()
    VARIABLE = auto()
    DECLARE = auto()
    REAL = auto()
    COMPARISON = auto()
    DECLARATION = auto()


KEYWORDS = {
    b"(": Kind.OPEN,
    b")": Kind.CLOSE,
    b"assert": Kind.ASSERT,
    b"and": Kind.AND,
    b"or": Kind.OR,
    b"<=": Kind.LESS_EQUAL,
    b"<": Kind.LESS,
    b">=": Kind.GREATER_EQUAL,
    b">": Kind.GREATER,
    b"=": Kind.EQUAL,
    b"==": Kind.EQUAL,
}
FLAT_KEYWORDS = {b"declare-const": Kind.DECLARE, b"Real": Kind.REAL}

NUMBER_SHAPES = [
    (sign + body + exponent).encode()
    for sign, body, exponent in product(
        ("", "-", "+"),
        ("0", "0.", "0.0", ".0"),
        ("", *(e + sign + "0" for e in "eE" for sign in ("", "-", "+"))),
    )
]


@dataclass(frozen=True)
class Member:
    """A tensor whose elements have a given shape of word.

    Attributes:
        spelled: the numbers within its name
        offset: the number of its first element
        sizes: its shape; None for the flat variables of 1.0, of which any number may exist
        step: how the variables' numbers grow with the last index
    """

    spelled: tuple[int, ...]
    offset: int
    sizes: tuple[int, ...] | None
    step: int = 1


@dataclass(frozen=True)
class Vocabulary:
    """Known shapes of words, with a hash table that has no collisions among them.

    Attributes:
        shapes: the known shapes; a word's class is its shape's place here
        kinds: uint8 [classes + 1], the `Kind` of each class; UNKNOWN for the last one
        members: for classes of variables, the tensors that are meant
    """

    shapes: tuple[bytes, ...]
    kinds: npt.NDArray[np.uint8]
    members: dict[int, tuple[Member, ...]]
    low: Words
    high: Words
    class_of_slot: npt.NDArray[np.uint8]
    factors: tuple[np.uint64, np.uint64]

    def classes(self, low: Words, high: Words | None) -> npt.NDArray[np.uint8]:
        """The class of each word, given its bytes 0-7 and 8-15; `high` is None if all are short."""
        mixed = low * self.factors[0]
        if high is not None:
            mixed ^= high * self.factors[1]
        slot = (mixed >> np.uint64(64 - _TABLE_BITS)).astype(np.int64)
        found = self.class_of_slot.take(slot)
        same = self.low.take(found) == low
        same &= self.high.take(found) == (0 if high is None else high)
        found[~same] = len(self.shapes)
        return found


@cache
def flat_vocabulary() -> Vocabulary:
    """The words of a 1.0 file."""
    flat = {
        b"X_0": (Member((), 0, None),),
        b"Y_0": (Member((), FIRST_OUTPUT, None, step=-1),),
    }
    return _vocabulary(KEYWORDS | FLAT_KEYWORDS, flat)


def tensor_vocabulary(names: Names) -> Vocabulary | None:
    """The words of a 2.0 file; None if its names cannot be told apart quickly."""
    families: dict[bytes, tuple[Member, ...]] = {}
    for name, (offset, declaration) in names.offsets().items():
        index = ",".join("0" * len(declaration.shape))
        shape = re.sub(rb"[0-9]+", b"0", name) + (f"[{index}]".encode() if index else b"")
        spelled = re.findall(rb"[0-9]+", name)
        if len(shape) > MAX_WORD or any(run != b"%d" % min(int(run), 10**9) for run in spelled):
            return None
        families[shape] = (
            *families.get(shape, ()),
            Member(tuple(map(int, spelled)), offset, declaration.shape),
        )
    if sum(len(members) for members in families.values()) > MAX_MEMBERS:
        return None
    if not families.keys().isdisjoint(KEYWORDS):
        return None
    return _vocabulary(KEYWORDS, families)


def _vocabulary(
    keywords: dict[bytes, Kind], families: dict[bytes, tuple[Member, ...]]
) -> Vocabulary:
    shapes = (*keywords, *NUMBER_SHAPES, *families)
    kinds = np.array(
        [
            *keywords.values(),
            *[Kind.NUMBER] * len(NUMBER_SHAPES),
            *[Kind.VARIABLE] * len(families),
            Kind.UNKNOWN,
        ],
        dtype=np.uint8,
    )
    low = np.array([_packed(shape[:8]) for shape in shapes] + [0], dtype=np.uint64)
    high = np.array([_packed(shape[8:]) for shape in shapes] + [0], dtype=np.uint64)
    class_of_slot, factors = _perfect_hash(low[:-1], high[:-1])
    first = len(shapes) - len(families)
    members = {first + place: members for place, members in enumerate(families.values())}
    return Vocabulary(shapes, kinds, members, low, high, class_of_slot, factors)


def _packed(word: bytes) -> int:
    return int.from_bytes(word, "little")


def _perfect_hash(
    low: Words, high: Words
) -> tuple[npt.NDArray[np.uint8], tuple[np.uint64, np.uint64]]:
    """Odd factors under which all words differ in the upper bits of the hash."""
    factors = np.random.default_rng(1).integers(
        2**64, size=(10_000, 2), dtype=np.uint64
    ) | np.uint64(1)
    for first, second in factors:
        slot = ((low * first) ^ (high * second)) >> np.uint64(64 - _TABLE_BITS)
        if len(set(slot.tolist())) == len(slot):
            class_of_slot = np.full(2**_TABLE_BITS, len(low), dtype=np.uint8)
            class_of_slot[slot.astype(np.int64)] = np.arange(len(low))
            return class_of_slot, (first, second)
    raise AssertionError("some factors separate a hundred words in four thousand slots")


def digit_runs(shape: bytes) -> Integers:
    """Where a shape has digits: int64 [runs]."""
    return np.array([place for place, byte in enumerate(shape) if byte == ord("0")], dtype=np.int64)
