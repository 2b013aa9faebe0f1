"""The fast path, second half: which forms are regular, and their rows.

Regular are comparisons, `and` over comparisons, and `or` over these, as `(assert ...)`, and plain
declarations. All other forms are left to the general path.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from verifier.load.vnnlib.scan import Comparisons, Scan
from verifier.load.vnnlib.table import Table
from verifier.load.vnnlib.text import Form, Text
from verifier.load.vnnlib.vocabulary import NO_VARIABLE, Kind
from verifier.records import dataclass
from verifier.spec.query import Booleans
from verifier.spec.ragged import Integers

_DEEPEST = 3
_KINDS = 32

# depth: {previous token: what may follow it}. Depth 0 is outside of all forms.
_GRAMMAR = {
    0: dict.fromkeys(Kind, (Kind.OPEN, Kind.DECLARATION)),
    1: {
        Kind.OPEN: (Kind.ASSERT,),
        Kind.ASSERT: (Kind.COMPARISON, Kind.OPEN),
        Kind.COMPARISON: (Kind.CLOSE,),
        Kind.CLOSE: (Kind.CLOSE,),
    },
    2: {
        Kind.OPEN: (Kind.AND, Kind.OR),
        Kind.AND: (Kind.COMPARISON,),
        Kind.OR: (Kind.COMPARISON, Kind.OPEN),
        Kind.COMPARISON: (Kind.COMPARISON, Kind.CLOSE, Kind.OPEN),
        Kind.CLOSE: (Kind.COMPARISON, Kind.CLOSE, Kind.OPEN),
    },
    3: {
        Kind.OPEN: (Kind.AND,),
        Kind.AND: (Kind.COMPARISON,),
        Kind.COMPARISON: (Kind.COMPARISON, Kind.CLOSE),
    },
}
_ALLOWED = np.zeros((_DEEPEST + 2) * _KINDS * _KINDS, dtype=np.bool_)
for _depth, _rules in _GRAMMAR.items():
    for _before, _after in _rules.items():
        _ALLOWED[[(_depth * _KINDS + _before) * _KINDS + kind for kind in _after]] = True


@dataclass(frozen=True, eq=False)
class Outline:
    """The top-level forms of a scanned text.

    Attributes:
        scan: the tokens
        depth: uint8 [tokens], how many lists are open before a token, at most _DEEPEST + 1
        form: int32 [tokens], the form that a token belongs to
        first: int64 [forms + 1], the first token of each form
        regular: bool [forms]
    """

    scan: Scan
    depth: npt.NDArray[np.uint8]
    form: npt.NDArray[np.int32]
    first: Integers
    regular: Booleans

    @classmethod
    def of(cls, scan: Scan) -> Outline | None:
        """The outline, or None if the parentheses do not match."""
        kinds = scan.kinds
        opens, closes = kinds == Kind.OPEN, kinds == Kind.CLOSE
        change = opens.astype(np.int8) - closes.astype(np.int8)
        after = np.cumsum(change, dtype=np.int32)
        if len(kinds) and (after[-1] != 0 or after.min() < 0):
            return None
        before = after - change
        form = np.cumsum(before == 0, dtype=np.int32) - 1
        first = np.append(np.flatnonzero(before == 0), len(kinds))
        depth = np.minimum(before, _DEEPEST + 1).astype(np.uint8)

        state = depth.astype(np.int32) * _KINDS
        state[1:] += kinds[:-1]
        state = state * _KINDS + kinds
        wrong = ~_ALLOWED.take(state)
        outline = cls(scan, depth, form, first, np.ones(len(first) - 1, dtype=np.bool_))
        wrong |= (depth == 2) & opens & ~outline._is_or().take(form)
        outline.regular[form[wrong]] = False
        return outline

    def _is_or(self) -> Booleans:
        """For each form, whether it reads `(assert (or`: bool [forms]."""
        head = np.minimum(self.first[:-1] + 3, self.first[1:] - 1)
        return self.scan.kinds.take(head) == Kind.OR

    def irregular_forms(self, text: Text) -> list[Form]:
        """The other forms, for the general path.

        Raises:
            PropertyError: something stands outside of all forms.
        """
        forms = []
        for number in np.flatnonzero(~self.regular):
            first, last = self.first[number], self.first[number + 1] - 1
            kind, start = self.scan.kinds[first], int(self.scan.places[first])
            if kind == Kind.OPEN:
                forms.append(Form(start, int(self.scan.places[last]) + 1))
            elif kind in {Kind.COMPARISON, Kind.DECLARATION}:
                forms.append(Form(start, text.data.index(b")", start) + 1))
            else:
                text.forms(start)
        return forms

    def declared(self) -> npt.NDArray[np.int32]:
        """The variables of all regular declarations."""
        tokens = np.flatnonzero(self.scan.kinds == Kind.DECLARATION)
        return self.scan.declared[self.regular[self.form[tokens]]]

    def without(self, comparisons: Booleans) -> Outline:
        """The same, but forms with some of the comparisons are not regular."""
        tokens = np.flatnonzero(self.scan.kinds == Kind.COMPARISON)[comparisons]
        regular = self.regular.copy()
        regular[self.form[tokens]] = False
        return Outline(self.scan, self.depth, self.form, self.first, regular)

    def table(self, comparisons: Comparisons) -> Table:
        """The clauses of all regular assertions; `comparisons` as in the scan, renumbered."""
        kinds = self.scan.kinds
        is_comparison = kinds == Kind.COMPARISON
        begins = is_comparison & (self.depth == 1)
        begins |= is_comparison & (self.depth == 2) & self._is_or().take(self.form)
        begins |= kinds == Kind.AND
        usable = self.regular.take(self.form)
        begins &= usable
        tokens = np.flatnonzero(is_comparison & usable)
        clause = np.cumsum(begins, dtype=np.int32).take(tokens) - 1
        key = self.scan.places.take(self.first[:-1].take(self.form[begins])).astype(np.int64)
        rows = usable[is_comparison]
        if not rows.all():
            comparisons = Comparisons(*(column[rows] for column in vars(comparisons).values()))
        return _table(key, clause, comparisons)


def _table(key: Integers, clause: npt.NDArray[np.int32], rows: Comparisons) -> Table:
    if rows.equal.any():
        clause, rows = _both_ways(clause, rows)
    pair = rows.second != NO_VARIABLE
    sign = np.where(rows.positive, 1.0, -1.0)
    if pair.any():
        swap = pair & (rows.first > rows.second)
        entries = 1 + pair.astype(np.int64)
        stop = np.cumsum(entries)
        variable = np.repeat(np.where(swap, rows.second, rows.first), entries)
        coefficient = np.repeat(np.where(swap, -sign, sign), entries)
        variable[stop[pair] - 1] = np.where(swap, rows.first, rows.second)[pair]
        coefficient[stop[pair] - 1] = np.where(swap, sign, -sign)[pair]
    else:
        entries = np.ones(len(clause), dtype=np.int64)
        variable, coefficient = rows.first, sign
    return Table(
        key,
        np.bincount(clause, minlength=len(key)),
        entries,
        variable,
        coefficient,
        rows.bound,
        rows.strict,
        rows.rounded,
    )


def _both_ways(
    clause: npt.NDArray[np.int32], rows: Comparisons
) -> tuple[npt.NDArray[np.int32], Comparisons]:
    """Equations as two rows, one after the other."""
    times = 1 + rows.equal.astype(np.int64)
    columns = {name: np.repeat(column, times) for name, column in vars(rows).items()}
    again = np.cumsum(times)[rows.equal] - 1
    columns["positive"][again] ^= True
    columns["bound"][again] = 0.0 - columns["bound"][again]
    return np.repeat(clause, times), Comparisons(**columns)
