"""The text of a witness, as the competition and the 2.0 standard want it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verifier.errors import PropertyError
from verifier.spec.query import Floats, Query


def format_assignment(query: Query, inputs: Floats, outputs: Floats) -> str:
    """Every variable with its value, inputs first, without the line `sat` and a final newline.

    1.0: `((X_0 v)`, a pair per line, `(Y_0 v))`. 2.0: network by network, for each tensor a line
    `NAME type [shape]`, then a value per line in C order. A value is the shortest text that reads
    back as the same double.

    Args:
        query: whose variables they are
        inputs: [n_inputs]
        outputs: [n_outputs]

    Raises:
        PropertyError: the point has not as many numbers as the query has variables.
    """
    values = [*_texts(inputs), *_texts(outputs)]
    if (np.size(inputs), np.size(outputs)) != (query.n_inputs, query.n_outputs):
        raise PropertyError(
            f"{query.source} has {query.n_inputs} inputs and {query.n_outputs} outputs, "
            f"but the witness has {np.size(inputs)} and {np.size(outputs)}"
        )
    return _flat(query, values) if query.version.startswith("1") else _blocks(query, values)


def _texts(values: Floats) -> list[str]:
    return [repr(value) for value in np.asarray(values, dtype=np.float64).ravel().tolist()]


def _flat(query: Query, values: Sequence[str]) -> str:
    pairs = [f"({query.variable_name(i)} {value})" for i, value in enumerate(values)]
    return "(" + "\n".join(pairs) + ")"


def _blocks(query: Query, values: Sequence[str]) -> str:
    texts: dict[str, Sequence[str]] = {}
    for declaration in (*query.network.inputs, *query.network.outputs):
        texts[declaration.name] = values[: declaration.size]
        values = values[declaration.size :]
    lines: list[str] = []
    for network in query.network.networks:
        for declaration in (*network.inputs, *network.outputs):
            shape = ",".join(str(size) for size in declaration.shape)
            lines.append(f"{declaration.name} {declaration.element_type} [{shape}]")
            lines.extend(texts[declaration.name])
    return "\n".join(lines)
