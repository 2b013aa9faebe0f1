"""Arrays as serialised ONNX tensors."""

from __future__ import annotations

import numpy as np


def tensor_bytes(name: str, array: np.ndarray) -> bytes:
    """A serialised ``TensorProto`` of the array's type and shape."""
    from onnx import numpy_helper

    return numpy_helper.from_array(np.ascontiguousarray(array), name).SerializeToString()
