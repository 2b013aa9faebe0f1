"""Every operator has a checker rule, or is on the one list of those that have none."""

from verifier.certify.uncertified import UNCERTIFIED
from verifier.checker.composites import ALL_RULES
from verifier.families.registry import readers


def test_every_operator_has_a_checker_rule_or_a_reason():
    assert set(readers()) - set(ALL_RULES) == set(UNCERTIFIED)
    assert all(UNCERTIFIED.values())
