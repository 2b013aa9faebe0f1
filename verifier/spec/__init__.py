"""What is to be proved: a property as arrays, and its reduction to boxes and unsafe rows."""

from verifier.spec.cases import CaseBatch, Cases, UnsafeRows, cases_of
from verifier.spec.problem import Problem
from verifier.spec.query import Assertion, Declaration, NetworkDeclaration, Query

__all__ = [
    "Assertion",
    "CaseBatch",
    "Cases",
    "Declaration",
    "NetworkDeclaration",
    "Problem",
    "Query",
    "UnsafeRows",
    "cases_of",
]
