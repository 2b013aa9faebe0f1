"""The nonlinear functions in extended precision, written down a second time."""

import numpy as np

from verifier.families import Maximum, Product
from verifier.ops.clip import Clip
from verifier.ops.reciprocal import Reciprocal
from verifier.ops.relu import Relu
from verifier.ops.s_shaped import Sigmoid, Tanh


def sigmoid(x):
    decay = np.exp(-abs(x))
    return np.where(x > 0, 1 / (1 + decay), decay / (1 + decay))


FUNCTIONS = {
    Relu: lambda op, x: np.where(x > 0, x, np.longdouble(op.leak) * x),
    Clip: lambda op, x: np.clip(x, np.longdouble(op.low), np.longdouble(op.high)),
    Sigmoid: lambda op, x: sigmoid(x),
    Tanh: lambda op, x: np.tanh(x),
    Reciprocal: lambda op, x: 1 / x,
    Product: lambda op, x, y: x * y,
    Maximum: lambda op, x: x[..., op.index].max(-1),
}


def reference(operator, inputs):
    """phi(x) for inputs [..., n] in np.longdouble."""
    return FUNCTIONS[type(operator)](operator, *inputs)
