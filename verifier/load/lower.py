"""From what a property says to what is searched: distinct inputs, linear rows.

Inputs that the property equates become one, those that it bounds by relations to others get the
bounds, and the products of variables that it uses become further outputs of the network. The
property itself still judges every counterexample.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np

from verifier.graph import Builder, Graph, Value
from verifier.graph.passes import simplify
from verifier.ops.mul import multiply
from verifier.ops.sum import concatenate
from verifier.records import dataclass
from verifier.spec import Declaration, NetworkDeclaration, Query
from verifier.spec.equalities import InexactError, equated, renamed
from verifier.spec.implied import implied_bounds
from verifier.spec.monomials import Monomials, products_at
from verifier.spec.query import Floats


@dataclass(frozen=True, eq=False)
class Lowered:
    """A query over distinct inputs and with linear rows, and the network for it.

    Attributes:
        query: what is searched
        graph: over the distinct inputs; its outputs end with the products
        original: what the file says
        place: int64 [n_inputs], for each input of the file the distinct one that it is
    """

    query: Query
    graph: Graph
    original: Query
    place: np.ndarray

    @property
    def plain(self) -> bool:
        """Is it the file's own query?"""
        return self.query is self.original

    def inputs(self, points: Floats) -> Floats:
        """The file's inputs at points over the distinct ones: ``[points, n]``."""
        return points if self.plain else points[:, self.place]

    def outputs(self, inputs: Floats, outputs: Floats) -> Floats:
        """The network's outputs with the products after them, at the file's inputs."""
        if not self.original.monomials:
            return outputs
        point = np.concatenate([inputs, outputs], axis=1)
        return np.concatenate([outputs, products_at(point, self.original.monomials)], axis=1)

    def types(self, types: tuple[tuple[int, str], ...]) -> tuple[tuple[int, str], ...]:
        """The types of the distinct inputs: of equal ones the coarsest."""
        if self.plain:
            return types
        each = [kind for size, kind in types for _ in range(size)]
        found: list[str] = [""] * self.query.n_inputs
        for place, kind in zip(self.place.tolist(), each, strict=True):
            known = found[place]
            if not known or np.dtype(kind).itemsize < np.dtype(known).itemsize:
                found[place] = kind
        return tuple((1, kind) for kind in found)


@dataclass(frozen=True, eq=False, kw_only=True)
class LoweredQuery(Query):
    """A query that another one was made into; the other one judges, and names the variables."""

    original: Query
    place: np.ndarray

    def cautious(self) -> Self:
        return replace(self, original=self.original.cautious())

    def holds(self, inputs: Floats, outputs: Floats) -> bool:
        return self.original.holds(inputs[self.place], outputs[: self.original.n_outputs])

    def variable_name(self, variable: int) -> str:
        distinct = self.n_inputs
        if variable < distinct:
            return self.original.variable_name(int(np.argmax(self.place == variable)))
        return self.original.variable_name(variable + len(self.place) - distinct)


def lower(query: Query, graph: Graph) -> Lowered:
    """What to search for a query about the network of a graph."""
    lowered = lower_query(query)
    if not isinstance(lowered, LoweredQuery):
        return Lowered(query, graph, query, np.arange(query.n_inputs))
    graph = _extended(graph, lowered.place, query.monomials)
    return Lowered(lowered, graph, query, lowered.place)


def lower_query(query: Query) -> Query:
    """The query that is searched; the same one where there is nothing to do."""
    place = equated(query)
    try:
        return _lowered(query, place)
    except InexactError:
        return _lowered(query, np.arange(query.n_inputs))


def _lowered(query: Query, place: np.ndarray) -> Query:
    distinct = int(place.max()) + 1
    implied = implied_bounds(query)
    if distinct == len(place) and not query.monomials and implied is None:
        return query
    size = query.n_outputs + len(query.monomials)
    number = np.concatenate([place, distinct + np.arange(size)])
    assertions = query.assertions if implied is None else (*query.assertions, implied)
    return LoweredQuery(
        query.version,
        NetworkDeclaration(
            query.network.name,
            (Declaration("inputs", "real", (distinct,)),),
            (Declaration("outputs", "real", (size,)),),
        ),
        tuple(renamed(assertion, number) for assertion in assertions),
        query.source,
        original=query,
        place=place,
    )


def _extended(graph: Graph, place: np.ndarray, monomials: Monomials) -> Graph:
    """The network over distinct inputs, with products of its inputs and outputs as outputs."""
    builder = Builder(int(place.max()) + 1)
    entry = builder.rearrange("distinct inputs", Value(0, (builder.input_size,)), place)
    offset = len(builder.nodes)
    numbers = [entry.number, *(offset + i for i in range(1, len(graph.nodes) + 1))]
    for node in graph.nodes:
        builder.nodes.append(replace(node, inputs=tuple(numbers[i] for i in node.inputs)))
    outputs = Value(numbers[graph.output], (graph.output_size,))
    if not monomials:
        return simplify(builder.finish(outputs))
    point = concatenate("variables", builder, [entry, outputs], 0)
    assert isinstance(point, Value)
    parts = [outputs, *(_product(builder, point, factors) for factors in monomials)]
    whole = concatenate("outputs and products", builder, parts, 0)
    assert isinstance(whole, Value)
    return simplify(builder.finish(whole))


def _product(builder: Builder, point: Value, factors: tuple[int, ...]) -> Value:
    """The product of some elements of a vector."""
    values = [builder.rearrange(f"variable {f}", point, np.array([f])) for f in factors]
    name = "product " + " ".join(map(str, factors))
    product, rest = values[0], values[1:]
    if factors[0] == factors[1]:
        rest = [product, *values[2:]]
    for number, value in enumerate(rest):
        product = multiply(f"{name}/{number}", builder, product, value)
    return product
