"""A graph evaluated a second time, in exact rational arithmetic."""

from collections.abc import Sequence
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np

from verifier.families import Maximum, Operator, Product, Rearrange
from verifier.graph import Graph
from verifier.ops.clip import Clip
from verifier.ops.gather_sum import GatherSum
from verifier.ops.linear import Linear
from verifier.ops.reciprocal import Reciprocal
from verifier.ops.relu import Relu
from verifier.ops.s_shaped import Sigmoid, Tanh
from verifier.ops.scale import Scale
from verifier.ops.sum import Concat, Sum

DIGITS = Context(prec=60)
ZERO = Fraction(0)


def rational(x: np.ndarray) -> np.ndarray:
    """The same numbers as an object array of Fractions."""
    x = np.asarray(x)
    result = np.empty(x.shape, dtype=object)
    result.reshape(-1)[:] = [Fraction(float(entry)) for entry in x.reshape(-1)]
    return result


def exact_values(graph: Graph, points: np.ndarray) -> list[np.ndarray]:
    """All values of a graph (on no backend) at points [batch, n], by number.

    Exact but for sigmoids and tanhs, which have sixty digits.
    """
    values = [rational(points)]
    for node in graph.nodes:
        values.append(_value(node.operator, [values[i] for i in node.inputs]))
    return values


def _value(operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    if isinstance(operator, Linear):
        return _linear(operator, inputs[0])
    if isinstance(operator, Sum):
        terms = [sign * x for sign, x in zip(operator.signs, inputs, strict=True)]
        return sum(terms[1:], terms[0])
    if isinstance(operator, Concat):
        return np.concatenate(inputs, axis=1)
    if isinstance(operator, Product):
        return inputs[0] * inputs[1]
    return _unary(operator, inputs[0])


def _linear(operator: Linear, x: np.ndarray) -> np.ndarray:
    assert operator.positions == 1
    y = x @ rational(operator.weight.T)
    return y if operator.bias is None else y + rational(operator.bias)


def _unary(operator: Operator, x: np.ndarray) -> np.ndarray:
    if isinstance(operator, Scale):
        y = x if operator.scale is None else x * rational(operator.scale)
        return y if operator.bias is None else y + rational(operator.bias)
    if isinstance(operator, Rearrange):
        fill = np.zeros(operator.size) if operator.bias is None else operator.bias
        return np.where(operator.sources >= 0, x[:, operator.index], rational(fill))
    if isinstance(operator, GatherSum):
        return (x[:, operator.index] * rational(operator.kept)).sum(-1) * rational(operator.weight)
    if isinstance(operator, Maximum):
        return np.max(x[:, operator.index], axis=-1)
    return np.vectorize(_elementwise(operator), otypes=[object])(x)


def _elementwise(operator: Operator):
    if isinstance(operator, Relu):
        leak = Fraction(operator.leak)
        return lambda x: x if x > 0 else leak * x
    if isinstance(operator, Clip):
        low, high = Fraction(operator.low), Fraction(operator.high)
        return lambda x: min(max(x, low), high)
    if isinstance(operator, Reciprocal):
        return lambda x: 1 / x
    if isinstance(operator, Sigmoid):
        return lambda x: 1 / (1 + _exp(-x))
    if isinstance(operator, Tanh):
        return lambda x: 1 - 2 / (1 + _exp(2 * x))
    message = f"write down {type(operator).__name__}"
    raise NotImplementedError(message)


def _exp(x: Fraction) -> Fraction:
    # Further out both functions are flat to sixty digits.
    x = min(max(x, Fraction(-200)), Fraction(200))
    quotient = DIGITS.divide(Decimal(x.numerator), Decimal(x.denominator))
    return Fraction(DIGITS.exp(quotient))


def exact_rows(
    graph: Graph, points: np.ndarray, outputs: np.ndarray, inputs: np.ndarray | None
) -> np.ndarray:
    """outputs . y + inputs . x at points: Fractions [batch, rows]."""
    total = exact_values(graph, points)[graph.output] @ rational(outputs.T)
    return total if inputs is None else total + rational(points) @ rational(inputs.T)
