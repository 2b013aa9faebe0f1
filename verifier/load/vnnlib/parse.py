"""From the text of a property to a query."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from verifier.load.vnnlib.declarations import (
    FLAT_HEADS,
    FlatDeclarations,
    version_of,
)
from verifier.load.vnnlib.formula import Formula, Row, table_of
from verifier.load.vnnlib.general import AssertionReader
from verifier.load.vnnlib.names import Names
from verifier.load.vnnlib.networks import read_networks
from verifier.load.vnnlib.products import Products
from verifier.load.vnnlib.regular import Outline
from verifier.load.vnnlib.scan import Comparisons, scan
from verifier.load.vnnlib.table import Table, assertions_of, join
from verifier.load.vnnlib.text import Form, Text, read_bytes, shown
from verifier.load.vnnlib.vocabulary import (
    FIRST_OUTPUT,
    NO_VARIABLE,
    Vocabulary,
    flat_vocabulary,
    tensor_vocabulary,
)
from verifier.records import dataclass
from verifier.spec.query import Booleans, Query

Variables = npt.NDArray[np.int32]


def read_query(path: Path | str) -> Query:
    """Read a property file, VNN-LIB 1.0 or 2.0, plain or gzip.

    Raises:
        PropertyError: `source:line:column: what we met; what we need`.
    """
    return parse_query(read_bytes(Path(path)), str(path))


def parse_query(data: bytes, source: str, *, fast: bool = True) -> Query:
    """Read a property from its (decompressed) bytes.

    Args:
        data: the text
        source: what messages call it
        fast: read regular forms by array operations; the result is the same without

    Raises:
        PropertyError: `source:line:column: what we met; what we need`.
    """
    text = Text.of(data, source)
    parts = _parts(text, fast=fast)
    tables = [table_of(parts.formula, text), *parts.tables]
    filled = [table for table in tables if len(table.key)] or tables[:1]
    return Query(
        parts.version,
        parts.names.network,
        assertions_of(join(filled)),
        source,
        tuple(parts.products.found),
    )


def exact_rows(data: bytes, source: str) -> tuple[tuple[Row, ...], ...]:
    """The rows of every assertion of `parse_query(data, source)`, with their exact numbers."""
    formula = _parts(Text.of(data, source), fast=False).formula
    alone = [row for part in formula if len(part.clauses) == 1 for row in part.clauses[0]]
    several = [
        tuple(row for clause in part.clauses for row in clause)
        for part in formula
        if len(part.clauses) > 1
    ]
    return (tuple(alone), *several) if alone else tuple(several)


@dataclass(frozen=True, eq=False)
class _Parts:
    """What a file declares and asserts: the regular assertions as tables, the others exactly."""

    version: str
    names: Names
    tables: list[Table]
    formula: Formula
    products: Products


@dataclass(frozen=True)
class _Forms:
    """The forms of a text from a place on: the regular ones, if any, and all others."""

    regular: Outline | None
    others: list[Form]

    @classmethod
    def of(cls, text: Text, start: int, vocabulary: Vocabulary | None) -> _Forms:
        outline = Outline.of(scan(text, start, vocabulary)) if vocabulary else None
        if outline is None:
            return cls(None, text.forms(start))
        return cls(outline, outline.irregular_forms(text))


def _parts(text: Text, *, fast: bool) -> _Parts:
    header = text.first_form()
    if header and text.head(header) == b"vnnlib-version":
        return _parts_2(text, header, fast=fast)
    return _parts_1(text, fast=fast)


def _parts_1(text: Text, *, fast: bool) -> _Parts:
    forms = _Forms.of(text, 0, flat_vocabulary() if fast else None)
    declarations = FlatDeclarations(text)
    if forms.regular:
        declared = forms.regular.declared().astype(np.int64)
        inputs, outputs = declared[declared >= 0], FIRST_OUTPUT - declared[declared < 0]
        if not declarations.add_all(inputs, outputs):
            return _parts_1(text, fast=False)
    asserts = []
    for form in forms.others:
        head = text.head(form)
        if head in FLAT_HEADS:
            declarations.add(form)
        elif head == b"assert":
            asserts.append(form)
        else:
            need = "declare-const or assert"
            if head == b"declare-network":
                need = "(vnnlib-version <2.0>) before it"
            raise text.error(form.start, f"met {shown(head)}; need {need}")
    names = declarations.names()
    if forms.regular is None:
        return _Parts("1.0", names, [], *_formula(text, names, asserts))
    regular, rows = _renumbered(forms.regular, names)
    if regular is not forms.regular:
        others = regular.irregular_forms(text)
        asserts = [form for form in others if text.head(form) == b"assert"]
    return _Parts("1.0", names, [regular.table(rows)], *_formula(text, names, asserts))


def _renumbered(outline: Outline, names: Names) -> tuple[Outline, Comparisons]:
    """Number outputs after the inputs, now that these are counted; unknown ones are irregular."""
    rows = outline.scan.comparisons
    first, first_unknown = _flat_numbers(rows.first, names)
    second, second_unknown = _flat_numbers(rows.second, names)
    unknown = first_unknown | (second_unknown & (rows.second != NO_VARIABLE))
    if unknown.any():
        outline = outline.without(unknown)
    return outline, replace(rows, first=first, second=second)


def _flat_numbers(codes: Variables, names: Names) -> tuple[Variables, Booleans]:
    """The numbers of flat variables, and which are not declared."""
    (inputs,), (outputs,) = names.network.inputs, names.network.outputs
    output = codes < 0
    place = np.where(output, FIRST_OUTPUT - codes, codes)
    unknown = place >= np.where(output, outputs.size, inputs.size)
    numbers = np.where(output, inputs.size + place, place)
    return np.where(unknown, NO_VARIABLE, numbers).astype(np.int32), unknown


def _parts_2(text: Text, header: Form, *, fast: bool) -> _Parts:
    version = version_of(text, header)
    networks, start = [], len(text.data)
    for form in text.each_form(header.stop):
        head = text.head(form)
        if head == b"assert":
            start = form.start
            break
        if head != b"declare-network":
            raise text.error(form.start, f"met {shown(head)}; need declare-network or assert")
        networks.append(form)
    if not networks:
        raise text.error(header.stop, "no network is declared; need (declare-network ...)")
    names = Names(read_networks(text, networks), flat=False)
    forms = _Forms.of(text, start, tensor_vocabulary(names) if fast else None)
    for form in forms.others:
        head = text.head(form)
        if head != b"assert":
            raise text.error(form.start, f"met {shown(head)}; need assert, up to the end")
    tables = []
    if forms.regular:
        tables.append(forms.regular.table(forms.regular.scan.comparisons))
    return _Parts(version, names, tables, *_formula(text, names, forms.others))


def _formula(text: Text, names: Names, asserts: list[Form]) -> tuple[Formula, Products]:
    products = Products(names.size)
    reader = AssertionReader(text, names.resolver(), products)
    return [part for form in asserts for part in reader.read(form)], products
