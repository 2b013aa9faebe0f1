"""Arrays for the engine: one small interface, with NumPy and torch behind it.

Axes, in order: ``batch`` (subproblems), ``rows`` (objectives, flattened over subproblems), then the
flat values of one node, ``n``. A value of a network is a flat vector; its ONNX shape is known to
the operators alone.
"""

from verifier.tensors.annotations import Array, Bool, Float, Int
from verifier.tensors.backend import Backend, ScatterPlan, gamma
from verifier.tensors.choose import (
    cuda_devices,
    cuda_works,
    numpy_backend,
    single_precision,
    torch_backend,
)
from verifier.tensors.distinct import distinct, found_in
from verifier.tensors.rough import RoughProduct

__all__ = [
    "Array",
    "Backend",
    "Bool",
    "Float",
    "Int",
    "RoughProduct",
    "ScatterPlan",
    "cuda_devices",
    "cuda_works",
    "distinct",
    "found_in",
    "gamma",
    "numpy_backend",
    "single_precision",
    "torch_backend",
]
