"""Networks as tf2onnx writes them."""

import numpy as np

from tests.load.written import weights, written

TF_CNN = """
tf2onnx (float[unk__76,6,6,2] x0) => (float[unk__77,3] "Identity:0") {
   "model/zero_padding2d/Pad:0" = Pad (x0, pads)
   "model/conv2d/Conv2D__6:0" = Transpose <perm = [0, 3, 1, 2]> ("model/zero_padding2d/Pad:0")
   "model/conv2d/BiasAdd:0" = Conv <dilations = [1, 1], strides = [2, 2], kernel_shape = [3, 3],
       group = 1> ("model/conv2d/Conv2D__6:0", kernel, bias)
   "model/bn/FusedBatchNormV3/Mul:0" = Mul ("model/conv2d/BiasAdd:0", gain)
   "model/bn/FusedBatchNormV3/Add:0" = Add ("model/bn/FusedBatchNormV3/Mul:0", shift)
   "model/relu6/Relu6:0" = Clip ("model/bn/FusedBatchNormV3/Add:0", zero, six)
   "model/pool/MaxPool:0" = MaxPool <auto_pad = "SAME_UPPER", strides = [2, 2],
       kernel_shape = [2, 2]> ("model/relu6/Relu6:0")
   "model/pool/MaxPool__10:0" = Transpose <perm = [0, 2, 3, 1]> ("model/pool/MaxPool:0")
   "model/head/ExpandDims__12:0" = Transpose <perm = [0, 3, 1, 2]> ("model/pool/MaxPool__10:0")
   "model/head/Conv2D:0" = Conv <dilations = [1, 1], strides = [1, 1], kernel_shape = [1, 1],
       group = 1> ("model/head/ExpandDims__12:0", pointwise)
   "model/head/Squeeze:0" = Squeeze ("model/head/Conv2D:0", axes)
   "model/flatten/Reshape:0" = Reshape ("model/head/Squeeze:0", shape)
   "model/dense/MatMul:0" = MatMul ("model/flatten/Reshape:0", dense)
   "model/dense/BiasAdd:0" = Add ("model/dense/MatMul:0", offset)
   "Identity:0" = Softmax <axis = -1> ("model/dense/BiasAdd:0")
}
"""


def tf_cnn():
    """Keras: channels last, padding before, batch normalisation as a product and a sum."""
    constants = {
        "pads": np.array([0, 1, 1, 0, 0, 0, 0, 0]),
        "kernel": weights(3, 2, 3, 3, scale=0.3),
        "bias": weights(3),
        "gain": 1 + weights(1, 3, 1, 1),
        "shift": 0.5 + weights(1, 3, 1, 1, seed=1),
        "zero": np.zeros((), np.float32),
        "six": np.array(6, np.float32),
        "pointwise": weights(4, 3, 1, 1),
        "shape": np.array([-1, 16]),
        "dense": weights(16, 3),
        "offset": weights(3),
    }
    text = TF_CNN.replace('"model/head/Squeeze:0" = Squeeze ("model/head/Conv2D:0", axes)', "")
    text = text.replace("model/head/Squeeze:0", "model/head/Conv2D:0")
    return written(text, constants, opset=13, producer="tf2onnx", domains=[("ai.onnx.ml", 2)])


TF_CONV1D = """
tf2onnx (float[unk__1272,8,2] x0) => (float[unk__1273,2] "Identity:0") {
   "s/conv1d/ExpandDims:0" = Unsqueeze (x0, minus3)
   "s/conv1d/convolution__1234:0" = Transpose <perm = [0, 3, 1, 2]> ("s/conv1d/ExpandDims:0")
   "s/conv1d/convolution:0" = Conv <dilations = [1, 1], strides = [1, 1], kernel_shape = [1, 3],
       group = 1> ("s/conv1d/convolution__1234:0", first)
   "s/conv1d/Squeeze:0" = Squeeze ("s/conv1d/convolution:0", two)
   "s/conv1d/Relu:0" = Relu ("s/conv1d/Squeeze:0")
   "s/pool/ExpandDims:0" = Unsqueeze ("s/conv1d/Relu:0", two)
   "s/pool/MaxPool1d:0" = MaxPool <strides = [1, 2], kernel_shape = [1, 2]> ("s/pool/ExpandDims:0")
   "s/pool/Squeeze:0" = Squeeze ("s/pool/MaxPool1d:0", two)
   "s/causal/Pad:0" = Pad ("s/pool/Squeeze:0", pads)
   "s/causal/ExpandDims:0" = Unsqueeze ("s/causal/Pad:0", two)
   "s/causal/convolution:0" = Conv <dilations = [1, 2], strides = [1, 1], kernel_shape = [1, 2],
       pads = [0, 0, 0, 0], group = 1> ("s/causal/ExpandDims:0", second)
   "s/causal/Squeeze:0" = Squeeze ("s/causal/convolution:0", two)
   "s/causal/convolution__1253:0" = Transpose <perm = [0, 2, 1]> ("s/causal/Squeeze:0")
   "s/average/Mean:0" = ReduceMean <keepdims = 0, noop_with_empty_axes = 1>
       ("s/causal/convolution__1253:0", one)
   "Identity:0" = MatMul ("s/average/Mean:0", dense)
}
"""


def tf_conv1d():
    """Keras: convolutions of sequences as those of images of height 1."""
    constants = {
        "minus3": np.array([-3]),
        "two": np.array([2]),
        "one": np.array([1]),
        "pads": np.array([0, 0, 2, 0, 0, 0]),
        "first": weights(4, 2, 1, 3),
        "second": weights(3, 4, 1, 2),
        "dense": weights(3, 2),
    }
    return written(TF_CONV1D, constants, producer="tf2onnx", domains=[("ai.onnx.ml", 2)])


TF_EINSUM = """
tf2onnx (float[unk__1183,3,4] x0) => (float[unk__1184,2,3,3] "Identity:0") {
   "a/key/MatMul:0" = MatMul (x0, key)
   "a/key/Reshape_1:0" = Reshape ("a/key/MatMul:0", heads)
   "a/query/MatMul:0" = MatMul (x0, query)
   "a/query/Reshape_1:0" = Reshape ("a/query/MatMul:0", heads)
   "Unsqueeze__1049:0" = Unsqueeze ("a/key/Reshape_1:0", ones)
   "Unsqueeze__1045:0" = Unsqueeze ("a/query/Reshape_1:0", id_axes)
   "Transpose__1053:0" = Transpose <perm = [0, 2, 1, 3, 4]> ("Unsqueeze__1045:0")
   "Transpose__1051:0" = Transpose <perm = [0, 3, 1, 2, 4]> ("Unsqueeze__1049:0")
   "Shape__1057:0" = Shape ("Transpose__1051:0")
   "Shape__1055:0" = Shape ("Transpose__1053:0")
   "Gather__1084:0" = Gather ("Shape__1057:0", id_axes)
   "Gather__1083:0" = Gather ("Shape__1055:0", left_set)
   "Gather__1064:0" = Gather ("Shape__1057:0", final_axes)
   "Gather__1063:0" = Gather ("Shape__1055:0", final_axes)
   "Gather__1060:0" = Gather ("Shape__1057:0", batch_axes)
   "ReduceProd__1062:0" = ReduceProd <keepdims = 1> ("Gather__1060:0")
   "Gather__1059:0" = Gather ("Shape__1055:0", batch_axes)
   "ReduceProd__1061:0" = ReduceProd <keepdims = 1> ("Gather__1059:0")
   "Max__1082:0" = Max ("Gather__1059:0", "Gather__1060:0")
   "Concat__1085:0" = Concat <axis = 0>
       ("Max__1082:0", "Gather__1083:0", "Gather__1084:0", ones)
   "Concat__1066:0" = Concat <axis = 0> ("ReduceProd__1062:0", minus1, "Gather__1064:0")
   "Reshape__1069:0" = Reshape ("Transpose__1051:0", "Concat__1066:0")
   "Transpose__1071:0" = Transpose <perm = [0, 2, 1]> ("Reshape__1069:0")
   "Concat__1065:0" = Concat <axis = 0> ("ReduceProd__1061:0", minus1, "Gather__1063:0")
   "Reshape__1067:0" = Reshape ("Transpose__1053:0", "Concat__1065:0")
   "MatMul__1075:0" = MatMul ("Reshape__1067:0", "Transpose__1071:0")
   "Reshape__1086:0" = Reshape ("MatMul__1075:0", "Concat__1085:0")
   "Squeeze__1090:0" = Squeeze ("Reshape__1086:0", final_axes)
   "a/ones_like/Shape:0" = Shape ("Squeeze__1090:0")
   "a/ones_like/Shape__1002:0" = Cast <to = 6> ("a/ones_like/Shape:0")
   "a/ones_like__1003:0" = Cast <to = 7> ("a/ones_like/Shape__1002:0")
   "a/ones_like:0" = Expand (true, "a/ones_like__1003:0")
   "a/LogicalAnd:0" = And ("a/ones_like:0", causal)
   "a/SelectV2__1006:0" = Not ("a/LogicalAnd:0")
   "a/SelectV2__1007:0" = Cast <to = 1> ("a/SelectV2__1006:0")
   "a/SelectV2__1008:0" = Mul ("a/SelectV2__1007:0", low)
   "a/SelectV2:0" = Add ("Squeeze__1090:0", "a/SelectV2__1008:0")
   "Identity:0" = Softmax <axis = -1> ("a/SelectV2:0")
}
"""


def tf_einsum():
    """Keras: causal attention, whose einsum is lowered by arithmetic on shapes."""
    constants = {
        "key": weights(4, 4),
        "query": weights(4, 4, seed=1),
        "heads": np.array([-1, 3, 2, 2]),
        "ones": np.array([1]),
        "id_axes": np.array([3]),
        "left_set": np.array([2]),
        "final_axes": np.array([4]),
        "batch_axes": np.array([0, 1]),
        "minus1": np.array([-1]),
        "true": np.array(True),
        "causal": np.tril(np.ones((1, 1, 3, 3), dtype=bool)),
        "low": np.array(-1e9, np.float32),
    }
    return written(TF_EINSUM, constants, producer="tf2onnx", domains=[("ai.onnx.ml", 2)])


TF_LSTM = """
tf2onnx (float[unk__1412,3,2] x0) => (float[unk__1413,2] "Identity:0") {
   "s/lstm/transpose:0" = Transpose <perm = [1, 0, 2]> (x0)
   "s/lstm/Shape:0" = Shape (x0)
   "s/lstm/Shape__1386:0" = Cast <to = 6> ("s/lstm/Shape:0")
   "s/lstm/strided_slice:0" = Slice ("s/lstm/Shape__1386:0", zero, one, zero)
   "s/lstm/Concat__1402:0" = Concat <axis = 0> ("s/lstm/strided_slice:0", units)
   "s/lstm/zeros_1__1397:0" = Cast <to = 7> ("s/lstm/Concat__1402:0")
   "s/lstm/zeros:0" = Expand (nothing, "s/lstm/zeros_1__1397:0")
   "Unsqueeze__1369:0" = Unsqueeze ("s/lstm/zeros:0", zero)
   "LSTM__1374:0", "LSTM__1374:1", "LSTM__1374:2" = LSTM
       <activations = ["Sigmoid", "Tanh", "Tanh"], direction = "forward", hidden_size = 3>
       ("s/lstm/transpose:0", W0, R0, B0, "", "Unsqueeze__1369:0", "Unsqueeze__1369:0")
   "Squeeze__1378:0" = Squeeze ("LSTM__1374:0", one)
   "s/lstm/strided_slice_3:0" = Slice ("Squeeze__1378:0", minus1, most, zero)
   "s/lstm/strided_slice_3__1407:0" = Squeeze ("s/lstm/strided_slice_3:0", zero)
   "Identity:0" = MatMul ("s/lstm/strided_slice_3__1407:0", dense)
}
"""


def tf_lstm():
    """Keras: a recurrent layer, whose initial state has a shape that is computed."""
    constants = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "minus1": np.array([-1]),
        "most": np.array([2**31 - 1]),
        "units": np.array([3], np.int32),
        "nothing": np.zeros((), np.float32),
        "W0": weights(1, 12, 2),
        "R0": weights(1, 12, 3),
        "B0": weights(1, 24),
        "dense": weights(3, 2),
    }
    return written(TF_LSTM, constants, producer="tf2onnx", domains=[("ai.onnx.ml", 2)])


TENSORFLOW = {f.__name__: f for f in (tf_cnn, tf_conv1d, tf_einsum, tf_lstm)}
