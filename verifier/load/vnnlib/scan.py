"""The fast path, first half: bytes to tokens, whole comparisons at a time.

Digits are collapsed, so that few different words remain; each piece of text is then a fixed number
of array operations, whatever it says. What is not recognised stays an unknown token.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from verifier.load.vnnlib.decimals import (
    MAX_PLACES,
    MAX_RUN,
    PAD,
    Words,
    integers,
    mantissas,
    quotients,
    slow_decimals,
    windows,
)
from verifier.load.vnnlib.text import Text
from verifier.load.vnnlib.vocabulary import (
    MAX_WORD,
    NO_VARIABLE,
    Kind,
    Member,
    Vocabulary,
    digit_runs,
)
from verifier.records import dataclass
from verifier.spec.query import Booleans, Floats
from verifier.spec.ragged import Integers

PIECE = 2**18
_KEPT_MEMORY = 2**24
_ZERO, _SPACE, _OTHER = ord("0"), ord(" "), 0x7F

# Digits to 0, white space to a space, and other control characters to what no word contains.
_COLLAPSED = bytes(
    _ZERO
    if chr(byte).isdigit() and byte < 128
    else _SPACE
    if byte in b" \t\n\r\f\v"
    else _OTHER
    if byte < 32
    else byte
    for byte in range(256)
)
# The last n bytes of a word of at most 8 bytes come from a window of 8; the rest is cleared.
_FIRST = np.array([(1 << 8 * n) - 1 for n in range(9)], dtype=np.uint64)


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Comparisons of a variable with a number or another variable, as rows.

    Row i says sign * first - sign * second <= bound, where sign is +1 if `positive`.

    Attributes:
        first, second: int32 [rows], variables; NO_VARIABLE where there is no second one
        bound: float64 [rows]
        positive, strict, rounded: bool [rows]
        equal: bool [rows], where the row holds the other way round, too
    """

    first: npt.NDArray[np.int32]
    second: npt.NDArray[np.int32]
    bound: Floats
    positive: Booleans
    strict: Booleans
    rounded: Booleans
    equal: Booleans


@dataclass(frozen=True, eq=False)
class Scan:
    """A text as tokens, of which one stands for each comparison and each declaration.

    Attributes:
        kinds: uint8 [tokens], their `Kind`
        places: int32 [tokens], where they start in the text
        comparisons: one row for each token of kind COMPARISON, in order
        declared: int32 [declarations], the variables, for tokens of kind DECLARATION
    """

    kinds: npt.NDArray[np.uint8]
    places: npt.NDArray[np.int32]
    comparisons: Comparisons
    declared: npt.NDArray[np.int32]


def scan(text: Text, start: int, vocabulary: Vocabulary) -> Scan:
    """The tokens of a text from `start` on."""
    pieces = []
    # To free one large array makes the C library keep the memory of those that follow, rather than
    # return it and fault it in again for every piece.
    np.empty(_KEPT_MEMORY, dtype=np.uint8)
    while start < len(text.data) or not pieces:
        stop = _cut(text.data, start)
        pieces.append(_Piece.of(text.data, start, stop, vocabulary).scan())
        start = stop
    columns = list(zip(*((p.kinds, p.places, p.declared) for p in pieces), strict=True))
    kinds, places, declared = (np.concatenate(column) for column in columns)
    rows = [vars(piece.comparisons) for piece in pieces]
    joined = {name: np.concatenate([row.pop(name) for row in rows]) for name in list(rows[0])}
    return Scan(kinds, places, Comparisons(**joined), declared)


def _cut(data: bytes, start: int) -> int:
    """The end of a piece: after a parenthesis, so that no comparison is cut."""
    if len(data) - start <= PIECE:
        return len(data)
    stop = data.rfind(b")", start, start + PIECE) + 1
    return stop or data.find(b")", start + PIECE) + 1 or len(data)


@dataclass(frozen=True, eq=False)
class _Piece:
    """A piece of text, padded with spaces, and its tokens.

    Attributes:
        offset: the place in the text of byte 0
        raw: uint8, the bytes
        words: the windows of `raw`
        origin: int64, for each collapsed byte, its place in `raw`
        tokens: int64 [tokens], the places of their first bytes in the collapsed text
        classes: uint8 [tokens], their classes in the vocabulary
        kinds: uint8 [tokens]
    """

    vocabulary: Vocabulary
    offset: int
    raw: npt.NDArray[np.uint8]
    words: Words
    origin: Integers
    tokens: Integers
    classes: npt.NDArray[np.uint8]
    kinds: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, data: bytes, start: int, stop: int, vocabulary: Vocabulary) -> _Piece:
        padding = b" " * PAD
        padded = b"".join([padding, data[start:stop], padding])
        raw = np.frombuffer(padded, dtype=np.uint8)
        mapped = np.frombuffer(padded.translate(_COLLAPSED), dtype=np.uint8)
        keep = mapped[1:] != mapped[:-1]
        keep |= (mapped[1:] & 0xEF) != _SPACE
        origin = np.flatnonzero(keep) + 1
        collapsed = np.full(len(origin) + MAX_WORD, _SPACE, dtype=np.uint8)
        mapped.take(origin, out=collapsed[: len(origin)])

        tokens, sizes = _token_places(collapsed)
        classes = _classify(collapsed, tokens, sizes, vocabulary)
        kinds = vocabulary.kinds.take(classes)
        return cls(vocabulary, start - PAD, raw, windows(raw), origin, tokens, classes, kinds)

    def scan(self) -> Scan:
        comparisons, at = self._comparisons()
        declared, declared_at = self._declarations()
        kinds = self.kinds.copy()
        kinds[at] = Kind.COMPARISON
        kinds[declared_at] = Kind.DECLARATION
        whole = np.zeros(len(kinds) + 4, dtype=np.bool_)
        whole[at + 4] = True
        whole[declared_at + 4] = True
        kept = ~(whole[3:-1] | whole[2:-2] | whole[1:-3] | whole[:-4])
        places = (self.origin.take(self.tokens[kept]) + self.offset).astype(np.int32)
        return Scan(kinds[kept], places, comparisons, declared)

    def _followed_by(self, *wanted: Booleans) -> Integers:
        """The tokens from which on each token is as wanted."""
        n_starts = max(0, len(self.kinds) - len(wanted) + 1)
        match = np.ones(n_starts, dtype=np.bool_)
        for place, fits in enumerate(wanted):
            match &= fits[place : place + n_starts]
        return np.flatnonzero(match)

    def _comparisons(self) -> tuple[Comparisons, Integers]:
        """All `(OPERATOR OPERAND OPERAND)`, and the tokens where they start."""
        kinds = self.kinds
        operand = (kinds == Kind.VARIABLE) | (kinds == Kind.NUMBER)
        operator = (kinds >= Kind.LESS_EQUAL) & (kinds <= Kind.EQUAL)
        at = self._followed_by(kinds == Kind.OPEN, operator, operand, operand, kinds == Kind.CLOSE)
        swapped = kinds.take(at + 2) == Kind.NUMBER
        first = self._variables(at + 2 + swapped)
        other = at + 3 - swapped
        number = kinds.take(other) == Kind.NUMBER
        second = np.full(len(at), NO_VARIABLE, dtype=np.int32)
        second[~number] = self._variables(other[~number])
        bound, rounded = np.zeros(len(at)), np.zeros(len(at), dtype=np.bool_)
        bound[number], rounded[number] = self._numbers(other[number])

        valid = (first != NO_VARIABLE) & (first != second)
        valid &= (number | (second != NO_VARIABLE)) & np.isfinite(bound)
        relation = kinds.take(at + 1)
        positive = (relation == Kind.LESS_EQUAL) | (relation == Kind.LESS)
        positive |= relation == Kind.EQUAL
        positive ^= swapped
        bound = np.where(positive, bound, -bound) + 0.0  # no negative zeros
        comparisons = Comparisons(
            first=first[valid],
            second=second[valid],
            bound=bound[valid],
            positive=positive[valid],
            strict=((relation == Kind.LESS) | (relation == Kind.GREATER))[valid],
            rounded=rounded[valid],
            equal=(relation == Kind.EQUAL)[valid],
        )
        return comparisons, at[valid]

    def _declarations(self) -> tuple[npt.NDArray[np.int32], Integers]:
        """All `(declare-const VARIABLE Real)`, and the tokens where they start."""
        kinds = self.kinds
        at = np.zeros(0, dtype=np.int64)
        if (kinds == Kind.DECLARE).any():
            wanted = (Kind.OPEN, Kind.DECLARE, Kind.VARIABLE, Kind.REAL, Kind.CLOSE)
            at = self._followed_by(*(kinds == kind for kind in wanted))
        variables = self._variables(at + 2)
        return variables[variables != NO_VARIABLE], at[variables != NO_VARIABLE]

    def _variables(self, tokens: Integers) -> npt.NDArray[np.int32]:
        """The numbers of variables: int32 [tokens]; NO_VARIABLE where there is none."""
        variables = np.full(len(tokens), NO_VARIABLE, dtype=np.int32)
        classes = self.classes.take(tokens)
        for number, members in self.vocabulary.members.items():
            here = np.flatnonzero(classes == number)
            if len(here):
                runs = digit_runs(self.vocabulary.shapes[number])
                variables[here] = self._elements(tokens[here], runs, members)
        return variables

    def _elements(
        self, tokens: Integers, runs: Integers, members: tuple[Member, ...]
    ) -> npt.NDArray[np.int32]:
        """The elements that words of one shape name, for digits at `runs` of the shape."""
        begin = self.tokens.take(tokens)[:, None] + runs
        start, stop = self.origin.take(begin), self.origin.take(begin + 1)
        length = stop - start
        padded = (length > 1) & (self.raw.take(start) == _ZERO)
        usable = ((length <= 9) & ~padded).all(axis=1)
        value = integers(self.words, stop.ravel(), np.minimum(length, 9).ravel())
        value = value.reshape(length.shape)
        elements = np.full(len(tokens), NO_VARIABLE, dtype=np.int64)
        for member in members:
            meant, element = usable.copy(), np.zeros(len(tokens), dtype=np.int64)
            for column, spelled in enumerate(member.spelled):
                meant &= value[:, column] == spelled
            index = value[:, len(member.spelled) :]
            sizes = (2**30,) if member.sizes is None else member.sizes
            for column, size in enumerate(sizes):
                meant &= index[:, column] < size
                element = element * size + index[:, column]
            elements[meant] = (member.offset + member.step * element)[meant]
        return elements.astype(np.int32)

    def _numbers(self, tokens: Integers) -> tuple[Floats, Booleans]:
        """The doubles nearest to literals, and where they differ; NaN for what is out of range."""
        value, rounded = np.zeros(len(tokens)), np.zeros(len(tokens), dtype=np.bool_)
        classes = self.classes.take(tokens)
        begin = self.tokens.take(tokens)
        for number in np.flatnonzero(np.bincount(classes)):
            here = classes == number
            shape = self.vocabulary.shapes[number]
            value[here], rounded[here] = self._numbers_of_shape(begin[here], shape)
        return value, rounded

    def _numbers_of_shape(self, begin: Integers, shape: bytes) -> tuple[Floats, Booleans]:
        """Literals that start at some collapsed bytes, all of one shape."""
        body, letter, power = shape.lower().partition(b"e")
        signed = body[:1] in {b"-", b"+"}
        start = self.origin.take(begin + signed)
        stop = self.origin.take(begin + len(body))
        point = self.origin.take(begin + body.index(b".")) if b"." in body else stop
        places = np.maximum(stop - point - 1, 0)
        slow = (point - start > MAX_RUN) | (places > MAX_RUN)
        fraction = integers(self.words, stop, np.minimum(places, MAX_RUN))
        whole = integers(self.words, point, np.minimum(point - start, MAX_RUN))
        mantissa = mantissas(whole, fraction, places)
        end = stop
        if letter:
            end = self.origin.take(begin + len(shape))
            digits = end - self.origin.take(begin + len(shape) - 1)
            exponent = integers(self.words, end, np.minimum(digits, MAX_RUN))
            slow |= (digits > MAX_RUN) | (exponent < 0)
            places += exponent if power.startswith(b"-") else -exponent
        slow |= (mantissa < 0) | (places < 0) | (places > MAX_PLACES)
        value, rounded = quotients(np.where(slow, 0, mantissa), np.where(slow, 0, places))
        if slow.any():
            value[slow], rounded[slow] = self._slow_numbers(start[slow], end[slow])
        return -value if body.startswith(b"-") else value, rounded

    def _slow_numbers(self, start: Integers, stop: Integers) -> tuple[Floats, Booleans]:
        text = self.raw.tobytes()
        pairs = zip(start.tolist(), stop.tolist(), strict=True)
        return slow_decimals([text[a:b] for a, b in pairs])


def _token_places(collapsed: npt.NDArray[np.uint8]) -> tuple[Integers, Integers]:
    """Where words and parentheses start, and their sizes."""
    parenthesis = (collapsed & 0xFE) == ord("(")
    word = (collapsed != _SPACE) & ~parenthesis
    starts, stops = parenthesis.copy(), parenthesis.copy()
    starts[1:] |= word[1:] & ~word[:-1]
    stops[:-1] |= word[:-1] & ~word[1:]
    starts[0] |= word[0]
    tokens = np.flatnonzero(starts)
    return tokens, np.flatnonzero(stops) + 1 - tokens


def _classify(
    collapsed: npt.NDArray[np.uint8], tokens: Integers, sizes: Integers, vocabulary: Vocabulary
) -> npt.NDArray[np.uint8]:
    """The class of each token."""
    words = windows(collapsed)
    low = words.take(tokens) & _FIRST.take(np.minimum(sizes, 8))
    high = None
    if len(sizes) and sizes.max() > 8:
        high = words.take(tokens + 8, mode="clip") & _FIRST.take(np.clip(sizes - 8, 0, 8))
    classes = vocabulary.classes(low, high)
    classes[sizes > MAX_WORD] = len(vocabulary.shapes)
    return classes
