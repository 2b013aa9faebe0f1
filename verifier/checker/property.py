"""Read a property, VNN-LIB 1.0 or 2.0, as boxes of inputs and rows that say what is unsafe.

The normal form, which certificates refer to by number:

1. The property is the conjunction of its assertions, in the order of the file; the operands of an
   `and` that is all of an assertion, or of such an operand, are assertions. Each is put into
   disjunctive normal form by distributing `and` over `or`, first operand slowest, which gives
   conjunctions of rows `sum <= bound`: `>=` is negated; `=` is two rows, first <=, then >=; < and >
   are read as <= and >=, which only makes more unsafe. Coefficients of a variable are added, zeros
   dropped, constants moved to the bound. Rows of one variable are divided by its |coefficient|.
2. Rows without variables are decided: a true one is dropped, a false one drops its conjunction.
   Rows of one input only are bounds of the box.
3. An assertion in which some conjunction bounds the box makes one alternative of each conjunction.
   Any other assertion makes one alternative, whose clauses are the conjunctions. A case takes one
   alternative of every assertion; cases are numbered with the first assertion slowest.
4. The box of a case is the intersection of its bounds. Its clauses are the product of the clauses
   of its alternatives, first assertion slowest. Unsafe is where all rows of some clause are met.
5. Rows of a clause ascend by their dense vectors of coefficients (inputs first), compared as
   numbers, first entry first; of rows with one vector, only the least bound remains.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import chain, islice, product
from math import prod
from typing import Any

from verifier.checker.cases import Alternative, Bounds, Clause, Property, Row, Tensor, intersect
from verifier.checker.errors import Unreadable, Unsupported

MAX_DEPTH = 1000
MAX_DISTRIBUTED_ROWS = 10_000_000
MAX_VARIABLES = 10_000_000
MAX_BITS = 50_000
MAX_DIGITS = 1000
MAX_EXPONENT = 1000


Term = dict[int, Fraction]
"""A sum: coefficients of variables, none of them zero, and of the CONSTANT."""
Formula = list[Clause]
"""A disjunction of conjunctions of rows: true is [()], false is []."""

CONSTANT = -1
ZERO, ONE = Fraction(0), Fraction(1)


def _sum(terms: Sequence[Term], first_minus: int) -> Term:
    """The terms before `first_minus`, less the others."""
    total: Term = {}
    for number, term in enumerate(terms):
        for variable, c in term.items():
            signed = c if number < first_minus else -c
            total[variable] = total[variable] + signed if variable in total else signed
    return {variable: c for variable, c in total.items() if c}


def _product(terms: list[Term]) -> Term:
    result: Term = {CONSTANT: ONE}
    for term in terms:
        constant, linear = (result, term) if set(result) <= {CONSTANT} else (term, result)
        if not set(constant) <= {CONSTANT}:
            raise Unsupported("a product of variables")
        factor = constant.get(CONSTANT, ZERO)
        result = {variable: factor * c for variable, c in linear.items() if factor}
        numbers = [number for c in result.values() for number in c.as_integer_ratio()]
        if max(map(int.bit_length, numbers), default=0) > MAX_BITS:
            raise Unsupported("a product of too many digits")
    return result


def _at_most_zero(term: Term) -> Formula:
    bound = -term.get(CONSTANT, ZERO)
    coefficients = tuple(sorted(item for item in term.items() if item[0] != CONSTANT))
    if not coefficients:
        return [()] if bound >= 0 else []
    scale = abs(coefficients[0][1])
    if len(coefficients) == 1 and scale != 1:
        coefficients, bound = ((coefficients[0][0], coefficients[0][1] / scale),), bound / scale
    for c in (bound, *(c for _, c in coefficients)):
        if c.numerator.bit_length() - c.denominator.bit_length() > MAX_EXPONENT:
            raise Unsupported(f"a number of more than 2^{MAX_EXPONENT}")
    return [(Row(coefficients, bound),)]


def _compare(operator: str, left: Term, right: Term) -> Formula:
    if operator[0] == "<":
        return _at_most_zero(_sum((left, right), 1))
    if operator[0] == ">":
        return _at_most_zero(_sum((right, left), 1))
    return _and([_compare("<=", left, right), _compare(">=", left, right)])


def _and(formulas: list[Formula]) -> Formula:
    count = prod(map(len, formulas))
    longest = sum(max(map(len, formula), default=0) for formula in formulas)
    if count > 1 and count * longest > MAX_DISTRIBUTED_ROWS:
        raise Unsupported("`and` over `or` with too many combinations")
    return [tuple(chain.from_iterable(conjunctions)) for conjunctions in product(*formulas)]


def _choice(formula: Formula, n_inputs: int) -> list[Alternative]:
    """The alternatives of an assertion, as in rule 3."""
    alternatives: list[Alternative] = []
    for conjunction in formula:
        lower, upper, rows = Bounds(), Bounds(), list[Row]()
        for row in conjunction:
            variable, coefficient = row.coefficients[0]
            if len(row.coefficients) > 1 or variable >= n_inputs:
                rows.append(row)
            elif coefficient == 1:
                intersect(lower, upper, Alternative({}, {variable: row.bound}, ()))
            else:
                intersect(lower, upper, Alternative({variable: -row.bound}, {}, ()))
        alternatives.append(Alternative(lower, upper, (tuple(rows),)))
    if any(one.lower or one.upper for one in alternatives):
        return alternatives
    return [Alternative({}, {}, tuple(one.clauses[0] for one in alternatives))]


TOKEN = re.compile(r"[()]|[^ \t\r\n()\[\]]+(?:\[[^()\[\]]*\])?|\[[^()\[\]]*\]|[\[\]]")
NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
SHAPE = re.compile(r"\[\s*(?:[1-9][0-9]{0,9}\s*(?:,\s*[1-9][0-9]{0,9}\s*)*)?\]")
VERSIONS = {"2.0", "<2.0>", "2.1", "<2.1>"}
INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
AROUND_PUNCTUATION = re.compile(r"\s*([\[\],])\s*")


Value = str | Term | Formula | Tensor | tuple[Any, ...]
"""What a token or a list is worth: () of an empty list, the operands of an outermost `and`."""


def _shown(value: Value) -> str:
    return ascii(value[:40]) if isinstance(value, str) else "a list"


@lru_cache(maxsize=2**16)
def _number(token: str) -> Fraction | None:
    return Fraction(token) if len(token) <= MAX_DIGITS and NUMBER.fullmatch(token) else None


def _operands(value: Value) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) and value else (value,)


def _formula(value: Value) -> Formula:
    if not isinstance(value, list):
        raise Unreadable(f"{_shown(value)} is not a formula")
    return value


class _Reader:
    """Takes one statement after the other, and remembers the variables and the assertions."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] | None = None  # in VNN-LIB 2.0
        self.n_inputs: int = 0
        self.n_outputs: int = 0
        self.variables: dict[str, int] = {}  # by name, in VNN-LIB 1.0; outputs from 0 on, as inputs
        self.places: dict[str, tuple[int, Tensor]] = {}  # in VNN-LIB 2.0: the first variable
        self.complete = False
        self.assertions: list[Formula] = []

    def statement(self, frame: list[Value]) -> None:
        match frame:
            case ["assert", formula]:
                self.complete_declarations()
                self.assertions += [_formula(part) for part in _operands(formula)]
            case ["vnnlib-version", str(v)] if v in VERSIONS and not self.n_inputs + self.n_outputs:
                self.tensors = []
            case ["declare-const", str(name), "Real"] | ["declare-fun", str(name), (), "Real"]:
                self.declare_variable(name)
            case ["declare-network", str(name), *tensors] if self.tensors == []:
                self.declare_network(name, tensors)
            case _:
                raise Unsupported(f"the statement {_shown(frame[0] if frame else ())}, as it is")

    def declare_variable(self, name: str) -> None:
        if self.tensors is not None or self.complete:
            raise Unsupported("a variable declared in VNN-LIB 2.0, or after an assertion")
        is_input = name[:1] == "X"
        number: int = self.n_inputs if is_input else self.n_outputs
        if name != f"{'X' if is_input else 'Y'}_{number}":
            raise Unsupported(f"{_shown(name)}; X_0, X_1, ... and Y_0, Y_1, ... are to be in order")
        self.variables[name] = number
        self.n_inputs += is_input
        self.n_outputs += not is_input

    def declare_network(self, name: str, values: list[Value]) -> None:
        self.tensors = [value for value in values if isinstance(value, Tensor)]
        names = [name] + [tensor.name for tensor in self.tensors]
        if len(self.tensors) < len(values) or not all(map(NAME.fullmatch, names)):
            raise Unsupported("a network declared with more than inputs and outputs")
        if len(set(names)) < len(names):
            raise Unreadable("a name is declared twice")
        if sum(prod(tensor.shape) for tensor in self.tensors) > MAX_VARIABLES:
            raise Unsupported(f"more than {MAX_VARIABLES} variables")
        for kind in ("declare-input", "declare-output"):
            for tensor in (tensor for tensor in self.tensors if tensor.kind == kind):
                self.places[tensor.name] = self.n_inputs + self.n_outputs, tensor
                if kind == "declare-input":
                    self.n_inputs += prod(tensor.shape)
                else:
                    self.n_outputs += prod(tensor.shape)
        self.complete_declarations()

    def complete_declarations(self) -> None:
        if not self.n_inputs or not self.n_outputs:
            raise Unreadable("no input or no output is declared")
        self.complete = True

    def variable(self, text: str) -> int | None:
        """The number of a variable; outputs follow the inputs."""
        if self.tensors is None:
            number = self.variables.get(text)
            return number if number is None or text[0] == "X" else self.n_inputs + number
        name, bracket, inner = AROUND_PUNCTUATION.sub(r"\1", text).partition("[")
        first, tensor = self.places.get(name, (0, None))
        index = inner[:-1].split(",") if inner[-1:] == "]" else []
        if tensor is None or bool(bracket) != bool(index) or len(index) != len(tensor.shape):
            return None
        number = 0
        for digits, size in zip(index, tensor.shape, strict=True):
            if not INDEX.fullmatch(digits) or int(digits) >= size:
                return None
            number = number * size + int(digits)
        return first + number

    def value(self, frame: list[Value]) -> Value:
        match frame:
            case []:
                return ()
            case ["<=" | "<" | ">=" | ">" | "=" | "==" as operator, left, right]:
                return _compare(operator, self.term(left), self.term(right))
            case ["and" | "or" as operator, _, *_]:
                formulas = [_formula(operand) for operand in frame[1:]]
                return _and(formulas) if operator == "and" else list(chain.from_iterable(formulas))
            case ["+" | "-" | "*" as operator, _, *_]:
                terms = [self.term(operand) for operand in frame[1:]]
                first_minus = len(terms) if operator == "+" else int(len(terms) > 1)
                return _product(terms) if operator == "*" else _sum(terms, first_minus)
            case [str(kind), str(name), "real" | "float32" | "float64" as element, str(shape)] if (
                kind
                in {
                    "declare-input",
                    "declare-output",
                }
                and SHAPE.fullmatch(shape)
            ):
                return Tensor(kind, name, tuple(map(int, re.findall("[0-9]+", shape))), element)
            case _:
                raise Unsupported(f"{_shown(frame[0])} with {len(frame) - 1} operands, as it is")

    def term(self, value: Value) -> Term:
        if isinstance(value, dict):
            return value
        if not isinstance(value, str):
            raise Unreadable(f"{_shown(value)} is not a number or a sum")
        number = _number(value)
        if number is not None:
            return {CONSTANT: number} if number else {}
        self.complete_declarations()
        variable = self.variable(value)
        if variable is None:
            raise Unreadable(f"{_shown(value)} is neither a number nor a declared variable")
        return {variable: ONE}

    def property(self) -> Property:
        self.complete_declarations()
        box = Alternative({}, {}, ((),))
        choices: list[tuple[Alternative, ...]] = [(box,)]
        for formula in self.assertions:
            choice = _choice(formula, self.n_inputs)
            if len(choice) == 1 and choice[0].clauses == ((),):
                intersect(box.lower, box.upper, choice[0])
            else:
                choices.append(tuple(choice))
        tensors = tuple(self.tensors or ())
        return Property(self.n_inputs, self.n_outputs, tuple(choices), tensors)


def read_property(text: bytes) -> Property:
    """Read a VNN-LIB file (decompressed).

    Raises:
        Unreadable: it is not VNN-LIB
        Unsupported: the checker has no rule for what it says
    """
    # Comments may be of any encoding. A lone carriage return ends a comment in SMT-LIB but not in
    # VNN-LIB 2.0, so that what follows one has no certain meaning.
    source = text.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    if re.search(r"\r(?!\n)", source):
        raise Unreadable("a carriage return without a line feed")
    source = re.sub(r";[^\n]*", lambda comment: " " * len(comment[0]), source)
    reader, opened = _Reader(), [0]
    try:
        _read(TOKEN.findall(source), reader, opened)
        return reader.property()
    except (Unreadable, Unsupported) as error:
        token = next(islice(TOKEN.finditer(source), opened[-1], None), None)
        start = token.start() if token else len(source)
        line, column = source.count("\n", 0, start) + 1, start - source.rfind("\n", 0, start)
        raise type(error)(f"line {line}, column {column}: {error}") from None


def _is_outermost(frames: list[list[Value]]) -> bool:
    return frames[0][:1] == ["assert"] and all(frame[:1] == ["and"] for frame in frames[1:])


def _read(tokens: list[str], reader: _Reader, opened: list[int]) -> None:
    """Hand the statements to the reader; `opened` has the tokens that open the current lists."""
    frames: list[list[Value]] = [[]]
    for index, token in enumerate(tokens):
        if token == "(":
            opened.append(index)
            frames.append([])
            if len(frames) > MAX_DEPTH:
                raise Unsupported(f"lists nest deeper than {MAX_DEPTH}")
        elif len(frames) == 1:
            opened.append(index)
            raise Unreadable(f"{_shown(token)} outside of any list")
        elif token == ")":
            frame = frames.pop()
            if len(frames) == 1:
                reader.statement(frame)
            elif len(frame) > 1 and _is_outermost([*frames[1:], frame]):
                frames[-1].append(tuple(chain.from_iterable(map(_operands, frame[1:]))))
            else:
                frames[-1].append(reader.value(frame))
            opened.pop()
        else:
            frames[-1].append(token)
    if len(frames) > 1:
        raise Unreadable("this list is not closed")
