"""What the engine proves, but the checker has no rule for: such an ``unsat`` is "not certified".

Nor has it one for these forms of operators that otherwise have one: Mul, Div and MatMul of two
variables; constants that the network computes from other constants in floating point; properties
with nonlinear terms, several networks, or names of hidden nodes.
"""

UNCERTIFIED = {
    "GlobalMaxPool": "a maximum of several values",
    "MaxPool": "a maximum of several values",
    "Reciprocal": "division by a variable",
    "Size": "only where a network computes with its own sizes",
    "Sum": "an addition of any number of values",
}
"""ONNX operators with bound rules but without a checker rule, and why."""
