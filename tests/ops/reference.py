"""The nonlinear functions in extended precision, written down a second time."""

import numpy as np
from scipy.special import erf, erfc

from verifier.families import MatrixProduct, Maximum, Product
from verifier.families.curve import Curve
from verifier.ops.clip import Clip
from verifier.ops.order import ArgGreatest
from verifier.ops.periodic import Tangent, Wave
from verifier.ops.piecewise import PiecewiseLinear
from verifier.ops.reciprocal import Reciprocal
from verifier.ops.relu import Relu
from verifier.ops.s_shaped import Sigmoid, Tanh
from verifier.ops.staircase import Staircase
from verifier.ops.top_k import ArgRank


def sigmoid(x):
    decay = np.exp(-abs(x))
    return np.where(x > 0, 1 / (1 + decay), decay / (1 + decay))


def elu(x, alpha, gamma, scale):
    alpha, gamma, scale = (np.longdouble(a) for a in (alpha, gamma, scale))
    return np.where(x > 0, gamma * x, gamma * alpha * np.expm1(np.minimum(x, 0) / scale))


PI = 4 * np.arctan(np.longdouble(1))
CURVES = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "square": lambda x: x * x,
    "power": np.power,
    "elu": elu,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-abs(x))),
    "softsign": lambda x: x / (1 + abs(x)),
    "arctan": np.arctan,
    "erf": lambda x: erf(x.astype(np.float64)).astype(np.longdouble),
    "sinh": np.sinh,
    "cosh": np.cosh,
    "arcsinh": np.arcsinh,
    "arccosh": np.arccosh,
    "arctanh": np.arctanh,
    "arcsin": np.arcsin,
    "arccos": np.arccos,
    "gelu": lambda x: x * erfc(-x.astype(np.float64) / 2**0.5).astype(np.longdouble) / 2,
    "gelu_by_tanh": lambda x: x * sigmoid(np.sqrt(8 / PI) * (x + np.longdouble(0.044715) * x**3)),
    "swish": lambda x, alpha: x * sigmoid(alpha * x),
    "mish": lambda x: x * np.tanh(np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))),
    "hard_gate": lambda x, steep, offset, top: x * np.clip(steep * x + offset, 0, top),
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
}


def curve(op, x):
    name, _, rest = op.function.name.partition("(")
    return CURVES[name](x, *(np.longdouble(p) for p in rest.rstrip(")").split(",") if p))


def piecewise(op, x):
    y = op.bends[0] * x + op.offsets[0]
    for kink, slope, offset, value in zip(
        op.kinks, op.bends[1:], op.offsets[1:], op.values, strict=True
    ):
        y = np.where(x > kink, slope * x + offset, np.where(x == kink, value, y))
    return y


STAIRCASES = {"floor": np.floor, "ceil": np.ceil, "round": np.rint}


def matrix_product(op, x, y):
    p, k, q = op.shape
    leading = (*x.shape[:-1], op.count)
    products = x.reshape(*leading, p, k, 1) * y.reshape(*leading, 1, k, q)
    return products.sum(-2).reshape(*x.shape[:-1], op.size)


FUNCTIONS = {
    PiecewiseLinear: piecewise,
    Staircase: lambda op, x: STAIRCASES[op.rule](x),
    Curve: curve,
    Tangent: curve,
    Wave: curve,
    Relu: lambda op, x: np.where(x > 0, x, np.longdouble(op.leak) * x),
    Clip: lambda op, x: np.clip(x, np.longdouble(op.low), np.longdouble(op.high)),
    Sigmoid: lambda op, x: sigmoid(x),
    Tanh: lambda op, x: np.tanh(x),
    Reciprocal: lambda op, x: 1 / x,
    Product: lambda op, x, y: x * y,
    MatrixProduct: matrix_product,
    ArgRank: lambda op, x: (-x[..., op.index]).argsort(-1, kind="stable")[..., op.rank],
    ArgGreatest: lambda op, x: op.origin + op.turn * x[..., op.index].argmax(-1),
    Maximum: lambda op, x: x[..., op.index].max(-1),
}


def reference(operator, inputs):
    """phi(x) for inputs [..., n] in np.longdouble."""
    return FUNCTIONS[type(operator)](operator, *inputs)
