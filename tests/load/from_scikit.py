"""Networks as skl2onnx writes them."""

import numpy as np

from tests.load.written import weights, written

SKL_HEAD = """
   cast_input = Cast <to = 1> (X)
   mul_result = MatMul (cast_input, coefficient)
   add_result = Add (mul_result, intercepts)
   next_activations = Relu (add_result)
   mul_result1 = MatMul (next_activations, coefficient1)
   add_result1 = Add (mul_result1, intercepts1)
"""
SKL_SOFTMAX = """
   out_activations_result = Softmax (add_result1)
   probabilities = Identity (out_activations_result)
   argmax_output = ArgMax <axis = 1> (probabilities)
   array_feature_extractor_result = ai.onnx.ml.ArrayFeatureExtractor (classes, argmax_output)
"""
SKL_SIGMOID = """
   out_activations_result = Sigmoid (add_result1)
   negative_class_proba = Sub (unity, out_activations_result)
   probabilities = Concat <axis = 1> (negative_class_proba, out_activations_result)
   argmax_output = ArgMax <axis = 1> (probabilities)
   output_probability = ai.onnx.ml.ZipMap <classlabels_int64s = [3, 8]> (probabilities)
   array_feature_extractor_result = ai.onnx.ml.ArrayFeatureExtractor (classes, argmax_output)
   reshaped_result = Reshape (array_feature_extractor_result, shape_tensor)
   label = Cast <to = 7> (reshaped_result)
   output_label = Cast <to = 7> (label)
"""
SKL_MULTILABEL = """
   out_activations_result = Sigmoid (add_result1)
   binarizer_result = ai.onnx.ml.Binarizer <threshold = 0.5> (out_activations_result)
   label = Cast <to = 7> (binarizer_result)
   probabilities = Identity (out_activations_result)
"""


def scikit(ends, text, width, **constants):
    layers = {
        "coefficient": weights(3, 5),
        "intercepts": weights(1, 5),
        "coefficient1": weights(5, width),
        "intercepts1": weights(1, width),
        "shape_tensor": np.array([-1]),
    }
    body = f"network {ends} {{ {SKL_HEAD} {text} }}"
    kept = {name: x for name, x in {**layers, **constants}.items() if name in body}
    return written(body, kept, opset=14, producer="skl2onnx", domains=[("ai.onnx.ml", 1)])


def skl_names():
    """Three classes with names, which are left out."""
    text = f"{SKL_SOFTMAX} label = Reshape (array_feature_extractor_result, shape_tensor)"
    ends = "(float[N,3] X) => (string[M] label, float[N,3] probabilities)"
    return scikit(ends, text, 3, classes=np.array(["a", "b", "c"], dtype=object))


def skl_numbers():
    """Three classes with numbers."""
    text = f"""{SKL_SOFTMAX}
        reshaped_result = Reshape (array_feature_extractor_result, shape_tensor)
        label = Cast <to = 7> (reshaped_result)"""
    ends = "(double[N,3] X) => (int64[M] label, float[N,3] probabilities)"
    return scikit(ends, text, 3, classes=np.array([2, 3, 7], np.int32))


def skl_map():
    """Two classes, and a map from these to their probabilities."""
    ends = "(float[N,3] X) => (int64[M] output_label, seq(map(int64, float)) output_probability)"
    classes, unity = np.array([3, 8], np.int32), np.ones((), np.float32)
    return scikit(ends, SKL_SIGMOID, 1, classes=classes, unity=unity)


def skl_multilabel():
    """Several labels at once; the file says that they have one axis."""
    ends = "(float[N,3] X) => (int64[M] label, float[N,2] probabilities)"
    return scikit(ends, SKL_MULTILABEL, 2)


def skl_scaled():
    """A regression of scaled inputs."""
    text = f"""network (float[N,3] X0) => (float[N,1] variable) {{
        X = ai.onnx.ml.Scaler <offset = [0.5, 0.25, -1.0], scale = [2.0, 1.5, 0.5]> (X0)
        {SKL_HEAD}
        variable = Reshape (add_result1, out_shape)
    }}"""
    constants = {
        "coefficient": weights(3, 5),
        "intercepts": weights(1, 5),
        "coefficient1": weights(5, 1),
        "intercepts1": weights(1, 1),
        "out_shape": np.array([-1, 1]),
    }
    return written(text, constants, opset=14, producer="skl2onnx", domains=[("ai.onnx.ml", 1)])


SCIKIT = {f.__name__: f for f in (skl_names, skl_numbers, skl_map, skl_multilabel, skl_scaled)}
