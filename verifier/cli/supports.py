"""``verifier supports``: the standard's questions about capabilities, and our answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

FLOAT_NOTE = "bounds over the reals; not of the network's own {} execution"


def _element_types() -> tuple[str, ...]:
    notes = (f"{name} * {FLOAT_NOTE.format(name)}" for name in ("float16", "float64"))
    return ("real", "float32 * with --semantics float32: every execution", *notes)


def _operators() -> tuple[str, ...]:
    from verifier.families.registry import readers

    return tuple(sorted({*readers(), "Constant"}))


ANSWERS: dict[str, tuple[tuple[str, ...] | Callable[[], tuple[str, ...]], str]] = {
    "vnnlib-versions": (("1.0", "2.0"), "The least and the greatest version of VNN-LIB."),
    "onnx-opset-versions": (("8", "22"), "The least and the greatest opset of ONNX."),
    "onnx-element-types": (_element_types, "Types of the numbers in a network."),
    "onnx-operators": (_operators, "Operators, each for all of these types."),
    "hidden-node-theories": (("NH",), "NH: properties do not name hidden nodes."),
    "multiple-input-output-theories": (("SIO", "MIO"), "MIO: several inputs and outputs."),
    "multiple-network-theories": (("SNET", "MENET", "MINET", "MNET"), "MNET: any networks."),
    "multiple-node-comparison-theories": (("SNC", "MNC"), "MNC: any of them may be compared."),
    "arithmetic-complexity-theories": (("BND", "OUTC", "LIN", "POLY"), "POLY: polynomials."),
    "optimised-disjunctive-reasoning": (("true",), "Is `or` more than a loop over its parts?"),
    "serialise-assignments": (("true",), "Can witnesses be written as ONNX tensors?"),
}


@click.command(
    short_help="Answer the VNN-LIB standard's questions about capabilities.",
    params=[
        click.Option([f"--{name}"], is_flag=True, help=text) for name, (_, text) in ANSWERS.items()
    ],
)
def command(**asked: Any) -> None:
    """Print what is supported, a line for each; a remark follows an asterisk."""
    wanted = [name for name in ANSWERS if asked[name.replace("-", "_")]]
    if len(wanted) != 1:
        message = f"{len(wanted)} capabilities; need one, such as --vnnlib-versions"
        raise click.UsageError(message)
    answer = ANSWERS[wanted[0]][0]
    click.echo("\n".join(answer() if callable(answer) else answer))
