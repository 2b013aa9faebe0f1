"""Networks in the form that exporters write them, in the ONNX text format.

Names and orders of nodes are theirs; sizes are small, and the weights are random.
"""

import numpy as np
import onnx
from onnx import numpy_helper


def weights(*shape, seed=0, scale=0.5):
    return (np.random.default_rng([seed, *shape]).normal(size=shape) * scale).astype(np.float32)


def written(text, constants, *, opset=18, producer="", domains=()):
    """A model from the body of its text; constants by name."""
    others = "".join(f', "{domain}" : {version}' for domain, version in domains)
    head = f'<ir_version: 8, opset_import: ["" : {opset}{others}], producer_name: "{producer}">'
    proto = onnx.parser.parse_model(f"{head}\n{text}")
    tensors = [numpy_helper.from_array(np.asarray(x), name) for name, x in constants.items()]
    proto.graph.initializer.extend(tensors)
    return proto
