"""Networks as PyTorch writes them."""

import numpy as np

from tests.load.written import weights, written


def linear(name, n, m, seed=0):
    return {f"{name}.weight": weights(m, n, seed=seed), f"{name}.bias": weights(m, seed=seed)}


def norm(name, n):
    return {f"{name}.weight": 1 + weights(n), f"{name}.bias": weights(n, seed=1)}


DYNAMO_UNOPTIMISED = """
main_graph (float[1,1,4,4] x) => (float[1,3] linear_4) {
   conv2d = Conv <group = 1, pads = [0, 0, 0, 0], auto_pad = "NOTSET", strides = [2, 2],
       dilations = [1, 1], kernel_shape = [2, 2]> (x, "p.weight", "p.bias")
   val_1 = Constant <value_ints = [1]> ()
   val_2 = Constant <value_ints = [4]> ()
   val_3 = Constant <value_ints = [4]> ()
   val_4 = Concat <axis = 0> (val_1, val_2, val_3)
   view = Reshape <allowzero = 1> (conv2d, val_4)
   transpose = Transpose <perm = [0, 2, 1]> (view)
   val_9 = Concat <axis = 0> (val_1, val_1, val_1)
   expand = Expand (cls, val_9)
   cat = Concat <axis = 1> (expand, transpose)
   add = Add (cat, pos)
   layer_norm = LayerNormalization <stash_type = 1, epsilon = 0.1, axis = -1>
       (add, "n1.weight", "n1.bias")
   val_12 = Transpose <perm = [1, 0]> ("q.weight")
   val_13 = MatMul (layer_norm, val_12)
   linear = Add (val_13, "q.bias")
   val_14 = Constant <value = int64 {4}> ()
   split = SplitToSequence <keepdims = 1, axis = 2> (linear, val_14)
   val_15 = Constant <value = int64 {0}> ()
   getitem = SequenceAt (split, val_15)
   val_16 = Constant <value = int64 {1}> ()
   getitem_1 = SequenceAt (split, val_16)
   val_17 = Constant <value = int64 {2}> ()
   getitem_2 = SequenceAt (split, val_17)
   val_20 = Constant <value_ints = [5]> ()
   val_21 = Constant <value_ints = [2]> ()
   val_23 = Concat <axis = 0> (val_1, val_20, val_21, val_21)
   view_1 = Reshape <allowzero = 1> (getitem, val_23)
   transpose_1 = Transpose <perm = [0, 2, 1, 3]> (view_1)
   view_2 = Reshape <allowzero = 1> (getitem_1, val_23)
   transpose_2 = Transpose <perm = [0, 2, 1, 3]> (view_2)
   view_3 = Reshape <allowzero = 1> (getitem_2, val_23)
   transpose_3 = Transpose <perm = [0, 2, 1, 3]> (view_3)
   transpose_4 = Transpose <perm = [0, 1, 3, 2]> (transpose_2)
   matmul = MatMul (transpose_1, transpose_4)
   val_36 = Constant <value = float {0.5}> ()
   mul = Mul (matmul, val_36)
   val_37 = Constant <value = int64[2] {5, 5}> ()
   val_38 = Cast <to = 7> (val_37)
   val_39 = Constant <value_float = 1.0> ()
   val_40 = Cast <to = 1> (val_39)
   ones = Expand (val_40, val_38)
   tril = Trilu <upper = 0> (ones, val_15)
   val_46 = Concat <axis = 0> (val_1, val_1, val_20, val_20)
   view_4 = Reshape <allowzero = 1> (tril, val_46)
   scalar_tensor_default = Cast <to = 1> (val_15)
   eq = Equal (view_4, scalar_tensor_default)
   val_48 = CastLike (low, mul)
   masked_fill = Where (eq, val_48, mul)
   softmax = Softmax <axis = -1> (masked_fill)
   matmul_1 = MatMul (softmax, transpose_3)
   transpose_5 = Transpose <perm = [0, 2, 1, 3]> (matmul_1)
   clone = Identity (transpose_5)
   val_53 = Concat <axis = 0> (val_1, val_20, val_2)
   view_5 = Reshape <allowzero = 1> (clone, val_53)
   val_54 = Transpose <perm = [1, 0]> ("o.weight")
   val_55 = MatMul (view_5, val_54)
   linear_1 = Add (val_55, "o.bias")
   add_1 = Add (add, linear_1)
   layer_norm_1 = LayerNormalization <stash_type = 1, epsilon = 0.1, axis = -1>
       (add_1, "n2.weight", "n2.bias")
   val_58 = Transpose <perm = [1, 0]> ("m.0.weight")
   val_59 = MatMul (layer_norm_1, val_58)
   linear_2 = Add (val_59, "m.0.bias")
   gelu = Gelu <approximate = "none"> (linear_2)
   val_60 = Transpose <perm = [1, 0]> ("m.2.weight")
   val_61 = MatMul (gelu, val_60)
   linear_3 = Add (val_61, "m.2.bias")
   add_2 = Add (add_1, linear_3)
   select = Gather <axis = 1> (add_2, val_15)
   linear_4 = Gemm <beta = 1.0, transB = 1, alpha = 1.0, transA = 0> (select, "h.weight", "h.bias")
}
"""


def transformer():
    """The weights of a vision transformer with five tokens of four numbers."""
    layers = (("q", 4, 12), ("o", 4, 4), ("m.0", 4, 6), ("m.2", 6, 4), ("h", 4, 3))
    return {
        "p.weight": weights(4, 1, 2, 2),
        "p.bias": weights(4),
        "cls": weights(1, 1, 4),
        "pos": weights(1, 5, 4),
        **norm("n1", 4),
        **norm("n2", 4),
        **{k: x for name, n, m in layers for k, x in linear(name, n, m).items()},
    }


def dynamo_unoptimised():
    """A causal vision transformer by ``torch.onnx.export(..., optimize=False)``."""
    constants = {"low": np.array(-np.inf, np.float32), **transformer()}
    return written(DYNAMO_UNOPTIMISED, constants, opset=20, producer="pytorch")


DYNAMO_DYNAMIC = """
main_graph (float[s77,1,4,4] x) => (float[s77,3] linear_4) {
   val_0 = Shape <end = 1, start = 0> (x)
   conv2d = Conv <group = 1, pads = [0, 0, 0, 0], auto_pad = "NOTSET", strides = [2, 2],
       dilations = [1, 1], kernel_shape = [2, 2]> (x, "p.weight", "p.bias")
   view = Reshape <allowzero = 1> (conv2d, val_93)
   transpose = Transpose <perm = [0, 2, 1]> (view)
   val_10 = Concat <axis = 0> (val_0, val_8, val_8)
   expand = Expand (cls, val_10)
   cat = Concat <axis = 1> (expand, transpose)
   add_17 = Add (cat, pos)
   layer_norm = LayerNormalization <stash_type = 1, epsilon = 0.1, axis = -1>
       (add_17, "n1.weight", "n1.bias")
   val_14 = MatMul (layer_norm, val_13)
   linear = Add (val_14, "q.bias")
   split_split_0, split_split_1, split_split_2 = Split <axis = 2, num_outputs = 3> (linear)
   view_1 = Reshape <allowzero = 1> (split_split_0, val_94)
   transpose_1 = Transpose <perm = [0, 2, 1, 3]> (view_1)
   view_2 = Reshape <allowzero = 1> (split_split_1, val_94)
   transpose_2 = Transpose <perm = [0, 2, 1, 3]> (view_2)
   view_3 = Reshape <allowzero = 1> (split_split_2, val_94)
   transpose_3 = Transpose <perm = [0, 2, 1, 3]> (view_3)
   val_46 = Shape <start = 0> (transpose_2)
   val_49 = Slice (val_46, val_48, val_47)
   val_51 = Slice (val_46, val_50, val_48)
   val_53 = Slice (val_46, val_52, val_50)
   val_55 = Concat <axis = 0> (val_48, val_51, val_49)
   val_56 = Reshape <allowzero = 0> (transpose_2, val_55)
   val_57 = Transpose <perm = [0, 2, 1]> (val_56)
   val_58 = Concat <axis = 0> (val_53, val_49, val_51)
   val_59 = Reshape <allowzero = 0> (val_57, val_58)
   val_61 = Mul (transpose_1, val_60)
   val_64 = Mul (val_59, val_60)
   val_65 = MatMul (val_61, val_64)
   val_66 = Softmax <axis = -1> (val_65)
   scaled_dot_product_attention = MatMul (val_66, transpose_3)
   transpose_4 = Transpose <perm = [0, 2, 1, 3]> (scaled_dot_product_attention)
   view_4 = Reshape <allowzero = 1> (transpose_4, val_97)
   val_73 = MatMul (view_4, "o.weight")
   linear_1 = Add (val_73, "o.bias")
   add_90 = Add (add_17, linear_1)
   select = Gather <axis = 1> (add_90, val_16)
   linear_4 = Gemm <beta = 1.0, transB = 1, alpha = 1.0, transA = 0> (select, "h.weight", "h.bias")
}
"""


def dynamo_dynamic():
    """Attention with a batch of any size, as the exporter writes scaled_dot_product_attention."""
    constants = {
        "val_93": np.array([-1, 4, 4]),
        "val_8": np.array([1]),
        "val_13": weights(4, 12, scale=0.4),
        "val_94": np.array([-1, 5, 2, 2]),
        "val_47": np.array([2**63 - 1]),
        "val_48": np.array([-1]),
        "val_50": np.array([-2]),
        "val_52": np.array([-(2**63)]),
        "val_60": np.array([2**-0.25], np.float32),
        "val_97": np.array([-1, 5, 4]),
        "val_16": np.array(0),
    }
    kept = {k: x for k, x in transformer().items() if k in DYNAMO_DYNAMIC}
    return written(DYNAMO_DYNAMIC, {**kept, **constants}, opset=20, producer="pytorch")


TORCHSCRIPT = """
main_graph (float[batch,3,4] input) => (float[batch,2] output) {
   "/n/ReduceMean_output_0" = ReduceMean <axes = [-1]> (input)
   "/n/Sub_output_0" = Sub (input, "/n/ReduceMean_output_0")
   "/n/Constant_output_0" = Constant <value = float {2.0}> ()
   "/n/Pow_output_0" = Pow ("/n/Sub_output_0", "/n/Constant_output_0")
   "/n/ReduceMean_1_output_0" = ReduceMean <axes = [-1]> ("/n/Pow_output_0")
   "/n/Constant_1_output_0" = Constant <value = float {0.1}> ()
   "/n/Add_output_0" = Add ("/n/ReduceMean_1_output_0", "/n/Constant_1_output_0")
   "/n/Sqrt_output_0" = Sqrt ("/n/Add_output_0")
   "/n/Div_output_0" = Div ("/n/Sub_output_0", "/n/Sqrt_output_0")
   "/n/Mul_output_0" = Mul ("/n/Div_output_0", "n.weight")
   "/n/Add_1_output_0" = Add ("/n/Mul_output_0", "n.bias")
   "/Shape_output_0" = Shape ("/n/Add_1_output_0")
   "/Constant_output_0" = Constant <value = int64 {0}> ()
   "/Gather_output_0" = Gather <axis = 0> ("/Shape_output_0", "/Constant_output_0")
   "/Constant_1_output_0" = Constant <value = int64[1] {0}> ()
   "/Unsqueeze_output_0" = Unsqueeze ("/Gather_output_0", "/Constant_1_output_0")
   "/Constant_2_output_0" = Constant <value = int64[1] {12}> ()
   "/Concat_output_0" = Concat <axis = 0> ("/Unsqueeze_output_0", "/Constant_2_output_0")
   "/Reshape_output_0" = Reshape ("/n/Add_1_output_0", "/Concat_output_0")
   "/a/Gemm_output_0" = Gemm <alpha = 1.0, beta = 1.0, transB = 1>
       ("/Reshape_output_0", "a.weight", "a.bias")
   "/g/Constant_output_0" = Constant <value = float {1.41421354}> ()
   "/g/Div_output_0" = Div ("/a/Gemm_output_0", "/g/Constant_output_0")
   "/g/Erf_output_0" = Erf ("/g/Div_output_0")
   "/g/Constant_1_output_0" = Constant <value = float {1.0}> ()
   "/g/Add_output_0" = Add ("/g/Erf_output_0", "/g/Constant_1_output_0")
   "/g/Mul_output_0" = Mul ("/a/Gemm_output_0", "/g/Add_output_0")
   "/g/Constant_2_output_0" = Constant <value = float {0.5}> ()
   "/g/Mul_1_output_0" = Mul ("/g/Mul_output_0", "/g/Constant_2_output_0")
   output = Gemm <alpha = 1.0, beta = 1.0, transB = 1> ("/g/Mul_1_output_0", "b.weight", "b.bias")
}
"""


def torchscript():
    """The exporter before: a layer norm and a GELU in parts, shapes by Gather and Unsqueeze."""
    constants = {**norm("n", 4), **linear("a", 12, 5), **linear("b", 5, 2)}
    return written(TORCHSCRIPT, constants, opset=14, producer="pytorch")


DYNAMO_DOUBLE = """
main_graph (double[s77,3] x, double[s77,2] y) => (double[s77,2] linear_1, double[s77,5] relu) {
   cat = Concat <axis = 1> (x, y)
   linear = Gemm <beta = 1.0, transB = 1, alpha = 1.0, transA = 0> (cat, "a.weight", "a.bias")
   relu = Relu (linear)
   val_0 = Shape <end = 1, start = 0> (x)
   val_2 = Concat <axis = 0> (val_0, val_1)
   expand = Expand (shift, val_2)
   linear_1 = Gemm <beta = 1.0, transB = 1, alpha = 1.0, transA = 0> (relu, "b.weight", expand)
}
"""


def dynamo_double():
    """Two inputs and two outputs of double precision."""
    layers = {**linear("a", 5, 5), "b.weight": weights(2, 5), "shift": weights(1, 2)}
    constants = {name: x.astype(np.float64) for name, x in layers.items()}
    return written(DYNAMO_DOUBLE, {**constants, "val_1": np.array([2])}, producer="pytorch")


DYNAMO_COND = """
main_graph (float[1,3] x) => (float[1,3] getitem) {
   sum_1 = ReduceSum <noop_with_empty_axes = 0, keepdims = 0> (x)
   gt = Greater (sum_1, scalar_tensor_default)
   getitem = If (gt) <then_branch = true_graph_0 () => (float[1,3] linear_true_graph_0) {
      linear_true_graph_0 = Gemm <beta = 1.0, transB = 1, alpha = 1.0> (x, "l.weight", "l.bias")
   }, else_branch = false_graph_0 () => (float[1,3] neg_false_graph_0) {
      linear_false_graph_0 = Gemm <beta = 1.0, transB = 1, alpha = 1.0> (x, "l.weight", "l.bias")
      neg_false_graph_0 = Neg (linear_false_graph_0)
   }>
}
"""


def dynamo_cond():
    """torch.cond: a branch that the input chooses."""
    constants = {"scalar_tensor_default": np.array(1.5, np.float32), **linear("l", 3, 3)}
    return written(DYNAMO_COND, constants, producer="pytorch")


PYTORCH = {
    f.__name__: f
    for f in (dynamo_unoptimised, dynamo_dynamic, dynamo_double, dynamo_cond, torchscript)
}
