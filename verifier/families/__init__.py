"""What kinds of operator there are: the narrow waist between operators and methods."""

from verifier.families.affine import Affine
from verifier.families.band import Band
from verifier.families.bilinear import Correlated, Product
from verifier.families.elementwise import Elementwise
from verifier.families.matrix_product import MatrixProduct
from verifier.families.maximum import Maximum
from verifier.families.nonlinear import Nonlinear
from verifier.families.operator import FLOAT32_RANGE, Operator, Part
from verifier.families.rearrange import Rearrange
from verifier.families.relaxation import Planes, Relaxation
from verifier.families.sided import Sided
from verifier.families.table import Hinges, Table

__all__ = [
    "FLOAT32_RANGE",
    "Affine",
    "Band",
    "Correlated",
    "Elementwise",
    "Hinges",
    "MatrixProduct",
    "Maximum",
    "Nonlinear",
    "Operator",
    "Part",
    "Planes",
    "Product",
    "Rearrange",
    "Relaxation",
    "Sided",
    "Table",
]
