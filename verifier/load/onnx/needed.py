"""Which nodes of a graph its outputs need: what nothing reads is not read here either."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def reads(node: Any) -> Iterator[str]:
    """The tensors that a node reads, those of its subgraphs included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            yield from (info.name for info in graph.output)
            for inner in graph.node:
                yield from reads(inner)


def needed(
    nodes: Iterable[Any], outputs: Iterable[str], known: Iterable[str] = ()
) -> tuple[Any, ...]:
    """The nodes that some tensors need, in their order, where others are known."""
    given = frozenset(known)
    wanted, kept = set(outputs) - given, []
    for node in reversed(tuple(nodes)):
        if wanted & set(node.output):
            kept.append(node)
            wanted.update(name for name in reads(node) if name not in given)
    return tuple(reversed(kept))


def used(nodes: Iterable[Any], outputs: Iterable[str]) -> frozenset[str]:
    """The tensors that are outputs, or that some node reads."""
    return frozenset((*outputs, *(name for node in nodes for name in reads(node))))
