"""Einsum, by products of two operands at a time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from string import ascii_letters

import numpy as np

from verifier.errors import ModelError
from verifier.families.example import Example, numbers
from verifier.families.onnx_node import OnnxNode, Operand, expand, move
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.ops.gather_sum import GatherSum
from verifier.ops.matmul import matrix_product
from verifier.ops.mul import multiply
from verifier.records import dataclass

ELLIPSIS = "..."


@dataclass(frozen=True, eq=False)
class Term:
    """An operand, and a label for each of its axes."""

    operand: Operand
    labels: tuple[str, ...]

    def ordered(self, builder: Builder, name: str, labels: Sequence[str]) -> Operand:
        """The operand with its axes in another order."""
        axes = [self.labels.index(label) for label in labels]
        return move(builder, name, self.operand, lambda table: np.transpose(table, axes))


@reads("Einsum")
def read_einsum(node: OnnxNode, builder: Builder) -> Operand:
    """Sums of products of the operands' elements, as the equation's labels say."""
    operands = [node.operand(i) for i in range(len(node.inputs))]
    inputs, output = parse(
        str(node.attributes.get("equation", "")), [len(x.shape) for x in operands]
    )
    terms = _checked(
        builder, node.name, [Term(*pair) for pair in zip(operands, inputs, strict=True)]
    )
    total = terms[0]
    for i, term in enumerate(terms[1:], start=1):
        needed = {*output, *(label for later in terms[i + 1 :] for label in later.labels)}
        total = _product(f"{node.name}/{i}", builder, (total, term), needed)
    total = _sum_out(f"{node.name}/sum", builder, total, set(output))
    return total.ordered(builder, node.name, output)


def parse(equation: str, ranks: Sequence[int]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """The labels of each operand's axes and of the result's; an ellipsis has numbered labels."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    words = [re.findall(r"[A-Za-z]|\.\.\.", word) for word in left.split(",")]
    if len(words) != len(ranks) or any(
        len(w) - (ELLIPSIS in w) > rank or (ELLIPSIS not in w and len(w) != rank)
        for w, rank in zip(words, ranks, strict=False)
    ):
        message = f"equation {equation!r} over {len(ranks)} operands with {ranks} axes"
        raise ModelError(message)
    hidden = [
        rank - len(w) + 1 if ELLIPSIS in w else 0 for w, rank in zip(words, ranks, strict=True)
    ]
    inputs = [_spelled(w, count) for w, count in zip(words, hidden, strict=True)]
    if arrow:
        result = re.findall(r"[A-Za-z]|\.\.\.", right)
    else:
        letters = [letter for w in words for letter in w if letter != ELLIPSIS]
        result = [ELLIPSIS, *sorted(x for x in letters if letters.count(x) == 1)]
    output = _spelled(result, max(hidden))
    known = {label for labels in inputs for label in labels}
    if len(set(output)) != len(output) or not known.issuperset(output):
        message = f"equation {equation!r} with a result that its operands do not give"
        raise ModelError(message)
    return inputs, output


def _spelled(word: Sequence[str], count: int) -> tuple[str, ...]:
    """The ellipsis as ``count`` labels, numbered from the right."""
    dots = [f"{ELLIPSIS}{i}" for i in reversed(range(count))]
    return tuple(x for letter in word for x in (dots if letter == ELLIPSIS else [letter]))


def _checked(builder: Builder, name: str, terms: list[Term]) -> list[Term]:
    """Repeated labels taken as diagonals; axes of length 1 spread to their label's length."""
    terms = [_diagonal(builder, f"{name}/diagonal{i}", term) for i, term in enumerate(terms)]
    sizes: dict[str, int] = {}
    for term in terms:
        for label, n in zip(term.labels, term.operand.shape, strict=True):
            if sizes.setdefault(label, n) == 1:
                sizes[label] = n
            elif n not in {1, sizes[label]}:
                message = f"label {label!r} of lengths {n} and {sizes[label]}"
                raise ModelError(message)
    return [
        Term(
            expand(
                builder, f"{name}/spread{i}", term.operand, tuple(sizes[x] for x in term.labels)
            ),
            term.labels,
        )
        for i, term in enumerate(terms)
    ]


def _diagonal(builder: Builder, name: str, term: Term) -> Term:
    distinct = list(dict.fromkeys(term.labels))
    if len(distinct) == len(term.labels):
        return term
    numbered = [distinct.index(label) for label in term.labels]

    def movement(table: np.ndarray) -> np.ndarray:
        return np.einsum(table, numbered, list(range(len(distinct))))

    return Term(move(builder, name, term.operand, movement), tuple(distinct))


def _sum_out(name: str, builder: Builder, term: Term, kept: set[str]) -> Term:
    """The sum over all axes whose labels are not kept."""
    rest = tuple(label for label in term.labels if label in kept)
    if len(rest) == len(term.labels):
        return term
    gone = [label for label in term.labels if label not in kept]
    moved = term.ordered(builder, f"{name}/order", (*rest, *gone))
    shape = moved.shape[: len(rest)]
    if isinstance(moved, np.ndarray):
        return Term(moved.sum(axis=tuple(range(len(rest), moved.ndim))), rest)
    index = moved.table().reshape(math.prod(shape), -1)
    operator = GatherSum.of(index, np.ones(len(index)), moved.size)
    return Term(builder.add(name, operator, [moved], shape), rest)


def _product(name: str, builder: Builder, pair: tuple[Term, Term], needed: set[str]) -> Term:
    """The product of two terms, summed over the labels that are needed no more."""
    first, second = (
        _sum_out(f"{name}/{side}", builder, term, needed.union(other.labels))
        for side, term, other in (("left", *pair), ("right", *pair[::-1]))
    )
    common = [label for label in first.labels if label in second.labels]
    batch = [label for label in common if label in needed]
    summed = [label for label in common if label not in needed]
    rows = [label for label in first.labels if label not in common]
    columns = [label for label in second.labels if label not in common]
    labels = (*batch, *rows, *columns)
    if isinstance(first.operand, np.ndarray) and isinstance(second.operand, np.ndarray):
        return Term(_of_constants(first, second, labels), labels)
    left = first.ordered(builder, f"{name}/left", (*batch, *rows, *summed))
    right = second.ordered(builder, f"{name}/right", (*batch, *summed, *columns))
    together = left.shape[: len(batch)]
    height = left.shape[len(batch) : len(batch) + len(rows)]
    width = right.shape[len(batch) + len(summed) :]
    depth = left.shape[len(batch) + len(rows) :]
    left = left.reshape((*together, math.prod(height), math.prod(depth)))
    right = right.reshape((*together, math.prod(depth), math.prod(width)))
    multiplied = matrix_product if summed else multiply
    result = multiplied(name, builder, left, right)
    return Term(result.reshape((*together, *height, *width)), labels)


def _of_constants(first: Term, second: Term, labels: tuple[str, ...]) -> np.ndarray:
    every = list(dict.fromkeys((*first.labels, *second.labels)))
    sides = (first.labels, second.labels, labels)
    left, right, result = ("".join(ascii_letters[every.index(x)] for x in side) for side in sides)
    numbers = [np.asarray(term.operand, dtype=np.float64) for term in (first, second)]
    return np.asarray(np.einsum(f"{left},{right}->{result}", *numbers))


@examples("Einsum")
def _einsum() -> Iterator[Example]:
    for equation, *inputs in (
        ("ij->ji", (2, 3)),
        ("...ii->...i", (2, 3, 3)),
        ("ii", (3, 3)),
        ("ij,jk", (2, 3), numbers(3, 2)),
        ("bij,bjk->bik", numbers(2, 1, 3), (2, 3, 2)),
        ("i,j->ji", (2,), numbers(3)),
        ("i,i->", (3,), numbers(3)),
        ("...d, dh -> ...h", (2, 1, 3), numbers(3, 2)),
        ("abc,cd,ade->be", (2, 2, 3), numbers(3, 2), numbers(2, 2, 1)),
        ("bhqd,bhkd->bhqk", (1, 2, 2, 2), (1, 2, 1, 2)),
        ("ij,ij->j", (2, 3), (2, 3)),
    ):
        yield Example("Einsum", tuple(inputs), {"equation": equation})
