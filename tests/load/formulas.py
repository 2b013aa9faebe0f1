"""Random properties with a naive meaning: nested tuples, evaluated by recursion over fractions."""

from fractions import Fraction

from hypothesis import strategies as st

N_INPUTS, N_OUTPUTS = 3, 2
SIZE = N_INPUTS + N_OUTPUTS
FLAT_NAMES = [f"X_{i}" for i in range(N_INPUTS)] + [f"Y_{i}" for i in range(N_OUTPUTS)]
TENSOR_NAMES = ["A", "B7[0,0]", "B7[0,1]", "Out[0]", "Out[1]"]

FLAT_HEAD = "".join(f"(declare-const {name} Real)\n" for name in FLAT_NAMES)
TENSOR_HEAD = """(vnnlib-version <2.0>)
(declare-network N
    (declare-input A float32 []) (declare-input B7 float32 [1, 2])
    (declare-output Out float32 [2]))
"""

COMPARISONS = ["<=", "<", ">=", ">", "==", "!="]


def value(expression, point):
    """An expression at a point: exact."""
    head, *rest = expression
    if head == "variable":
        return point[rest[0]]
    if head == "number":
        return Fraction(rest[0])
    values = [value(part, point) for part in rest]
    if head == "+":
        return sum(values)
    if head == "*":
        result = Fraction(1)
        for factor in values:
            result *= factor
        return result
    return -values[0] if len(values) == 1 else values[0] - sum(values[1:])


def true(formula, point):
    """A formula at a point: exact."""
    head, *rest = formula
    if head == "and":
        return all(true(part, point) for part in rest)
    if head == "or":
        return any(true(part, point) for part in rest)
    left, right = (value(part, point) for part in rest)
    return {
        "<=": left <= right,
        "<": left < right,
        ">=": left >= right,
        ">": left > right,
        "==": left == right,
        "!=": left != right,
    }[head]


def written(tree, names, space=" "):
    """A formula as text."""
    head, *rest = tree
    if head == "variable":
        return names[rest[0]]
    if head == "number":
        return rest[0]
    parts = [written(part, names, space) for part in rest]
    return f"({head}{space}" + space.join(parts) + ")"


def flat_text(formulas, space=" "):
    asserts = [f"(assert{space}{written(f, FLAT_NAMES, space)})" for f in formulas]
    return (FLAT_HEAD + "\n".join(asserts)).encode()


def tensor_text(formulas, space=" "):
    asserts = [f"(assert{space}{written(f, TENSOR_NAMES, space)})" for f in formulas]
    return (TENSOR_HEAD + "\n".join(asserts)).encode()


# Eighths: their products and sums are doubles, so that exact and double meanings agree.
eighths = st.integers(-24, 24).map(lambda n: ("number", f"{n / 8:.3f}"))
variables = st.integers(0, SIZE - 1).map(lambda n: ("variable", n))
linear = st.recursive(
    eighths | variables,
    lambda inner: st.one_of(
        st.tuples(st.just("-"), inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: ("+", *parts)),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: ("-", *parts)),
        st.tuples(st.just("*"), eighths, inner),
        st.tuples(st.just("*"), inner, eighths),
        st.tuples(st.just("*"), eighths, eighths, inner),
    ),
    max_leaves=4,
)
plain = st.one_of(
    st.tuples(st.sampled_from(COMPARISONS), variables, eighths),
    st.tuples(st.sampled_from(COMPARISONS), eighths, variables),
    st.tuples(st.sampled_from(COMPARISONS), variables, variables),
)
comparisons = plain | st.tuples(st.sampled_from(COMPARISONS), linear, linear)


def nested(leaves, max_leaves=6):
    return st.recursive(
        leaves,
        lambda inner: st.tuples(
            st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=4)
        ).map(lambda pair: (pair[0], *pair[1])),
        max_leaves=max_leaves,
    )


formulas = nested(comparisons)
properties = st.lists(formulas, min_size=1, max_size=4)
points = st.lists(st.integers(-24, 24).map(lambda n: Fraction(n, 8)), min_size=SIZE, max_size=SIZE)
spaces = st.sampled_from([" ", "  ", "\n\t", " ; (or ) X_9\n", "\r\n "])
