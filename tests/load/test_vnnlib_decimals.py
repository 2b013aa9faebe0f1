"""Many literals at once become the same doubles as one by one."""

from fractions import Fraction

import numpy as np
import pytest

from tests.load.formulas import FLAT_HEAD
from verifier.load.vnnlib import decimals, parse_query


def test_quotients_are_correctly_rounded():
    dice = np.random.default_rng(1)
    size = 10 ** dice.integers(1, 19, 20_000)
    mantissa = dice.integers(0, size)
    places = dice.integers(0, decimals.MAX_PLACES + 1, len(mantissa))
    value, rounded = decimals.quotients(mantissa, places)
    pairs = list(zip(mantissa.tolist(), places.tolist(), strict=True))
    expected = [m / 10**p for m, p in pairs]
    np.testing.assert_array_equal(value, expected)
    some = [Fraction(m, 10**p) != Fraction(v) for (m, p), v in zip(pairs, expected, strict=True)]
    np.testing.assert_array_equal(rounded, some)


@pytest.mark.parametrize(
    ("mantissa", "places"),
    [(768038476942885211, 15), (589922241274297909, 20), (225348883507461790, 10)],
)
def test_quotients_that_rounding_twice_gets_wrong(mantissa, places):
    value, _ = decimals.quotients(np.array([mantissa]), np.array([places]))
    assert value.tolist() == [mantissa / 10**places]


def test_quotients_do_not_depend_on_long_doubles(monkeypatch):
    mantissa = np.arange(10**17, 10**17 + 500)
    places = np.full(500, 19)
    value, _ = decimals.quotients(mantissa, places)
    monkeypatch.setattr(np, "finfo", lambda _: type("Double", (), {"nmant": 52}))
    again, _ = decimals.quotients(mantissa, places)
    np.testing.assert_array_equal(value, again)
    np.testing.assert_array_equal(value, [m / 10**19 for m in mantissa.tolist()])


@pytest.mark.parametrize(
    "literal",
    [
        "9007199254740993",
        "9007199254740993.0000000000000001",
        "999999999999999999",
        "1000000000000000000",
        "12345678901234567890123",
        "18446744073709551617",
        "0.18446744073709551617",
        "999999999999999999999999",
        "0.123456789012345678901234",
        "0.00000012345678901234567",
        "0.000000000000000000000000123",
        "000000000000000000000000000001.5",
        "123456789.123456789",
        "1234567890123.123456789",
        "2.5e-17",
        "2.5E+17",
        "1.7976931348623157e308",
        "4.9e-324",
        "100000.0e-5",
        "0e0",
    ],
)
@pytest.mark.parametrize("sign", ["", "-", "+"])
def test_literals_of_any_length(literal, sign):
    text = FLAT_HEAD + f"(assert (<= X_0 {sign}{literal}))(assert (<= 1 X_1))"
    bound = parse_query(text.encode(), "p").assertions[0].bound
    assert bound.tolist() == [float(sign + literal), -1]
