"""Networks in the forms that tools write which quantise: QDQ, QOperator, dynamic."""

import numpy as np

from tests.load.written import weights, written

MS = [("com.microsoft", 1)]


def integers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).integers(-60, 60, shape).astype(np.int8)


def scale(number):
    return np.array(number, np.float32)


def byte(number):
    return np.array(number, np.uint8)


def per_channel(name, axis_length, *shape):
    steps = np.linspace(0.002, 0.004, axis_length).astype(np.float32)
    return {
        f"{name}_quantized": integers(*shape),
        f"{name}_scale": steps,
        f"{name}_zero_point": np.zeros(axis_length, np.int8),
        f"{name}_bias_quantized": integers(axis_length).astype(np.int32) * 40,
        f"{name}_bias_scale": steps * np.float32(0.004),
        f"{name}_bias_zero_point": np.zeros(axis_length, np.int32),
    }


QDQ = """
main_graph (float[1,1,4,4] x) => (float[1,3] "21") {
   w_DQ = DequantizeLinear <axis = 0> (w_quantized, w_scale, w_zero_point)
   w_bias = DequantizeLinear <axis = 0> (w_bias_quantized, w_bias_scale, w_bias_zero_point)
   v_DQ = DequantizeLinear <axis = 0> (v_quantized, v_scale, v_zero_point)
   v_bias = DequantizeLinear <axis = 0> (v_bias_quantized, v_bias_scale, v_bias_zero_point)
   x_Q = QuantizeLinear (x, x_scale, x_zero_point)
   x_DQ = DequantizeLinear (x_Q, x_scale, x_zero_point)
   conv = Conv <dilations = [1, 1], group = 1, kernel_shape = [3, 3], pads = [1, 1, 1, 1],
       strides = [1, 1]> (x_DQ, w_DQ, w_bias)
   conv_Q = QuantizeLinear (conv, c_scale, c_zero_point)
   conv_DQ = DequantizeLinear (conv_Q, c_scale, c_zero_point)
   sigmoid = Sigmoid (conv_DQ)
   sigmoid_Q = QuantizeLinear (sigmoid, s_scale, s_zero_point)
   sigmoid_DQ = DequantizeLinear (sigmoid_Q, s_scale, s_zero_point)
   mul = Mul (conv_DQ, sigmoid_DQ)
   pool = GlobalAveragePool (mul)
   flat = Flatten <axis = 1> (pool)
   gemm = Gemm <alpha = 1.0, beta = 1.0, transB = 1> (flat, v_DQ, v_bias)
   gemm_Q = QuantizeLinear (gemm, y_scale, y_zero_point)
   "21" = DequantizeLinear (gemm_Q, y_scale, y_zero_point)
}
"""


def qdq():
    """Weights with a scale for each channel; activations with one."""
    constants = {
        **per_channel("w", 2, 2, 1, 3, 3),
        **per_channel("v", 3, 3, 2),
        "x_scale": scale(0.004),
        "x_zero_point": byte(0),
        "c_scale": scale(0.009),
        "c_zero_point": byte(120),
        "s_scale": scale(0.0031),
        "s_zero_point": byte(0),
        "y_scale": scale(0.0021),
        "y_zero_point": byte(116),
    }
    return written(QDQ, constants, opset=17, producer="onnx.quantize")


QDQ_SOFTMAX = """
main_graph (float[1,3,4] x) => (float[1,3,4] y) {
   x_Q = QuantizeLinear (x, x_scale, x_zero_point)
   x_DQ = DequantizeLinear (x_Q, x_scale, x_zero_point)
   s = Softmax <axis = -1> (x_DQ)
   s_Q = QuantizeLinear (s, s_scale, s_zero_point)
   s_DQ = DequantizeLinear (s_Q, s_scale, s_zero_point)
   m_DQ = DequantizeLinear (m, m_scale, m_zero_point)
   p = MatMul (s_DQ, m_DQ)
   p_Q = QuantizeLinear (p, p_scale, p_zero_point)
   y = DequantizeLinear (p_Q, p_scale, p_zero_point)
}
"""


def qdq_softmax():
    """Which ONNX Runtime computes by integers, with roundings of its own."""
    constants = {
        "x_scale": scale(0.0041),
        "x_zero_point": byte(3),
        "s_scale": scale(0.0019),
        "s_zero_point": byte(0),
        "m": integers(4, 4),
        "m_scale": scale(0.003),
        "m_zero_point": np.array(0, np.int8),
        "p_scale": scale(0.0007),
        "p_zero_point": byte(120),
    }
    return written(QDQ_SOFTMAX, constants, opset=17, producer="onnx.quantize")


DYNAMIC = """
main_graph (float[batch,4] x) => (float[batch,2] y) {
   x_quantized, x_scale, x_zero_point = DynamicQuantizeLinear (x)
   scales_mul = Mul (x_scale, "W_scale")
   product = MatMulInteger (x_quantized, "W_quantized", x_zero_point, "W_zero_point")
   product_cast = Cast <to = 1> (product)
   product_output = Mul (product_cast, scales_mul)
   gemm = Add (product_output, b)
   hidden = Relu (gemm)
   h_quantized, h_scale, h_zero_point = DynamicQuantizeLinear (hidden)
   scales_mul_1 = Mul (h_scale, "V_scale")
   product_1 = MatMulInteger (h_quantized, "V_quantized", h_zero_point, "V_zero_point")
   product_1_cast = Cast <to = 1> (product_1)
   y = Mul (product_1_cast, scales_mul_1)
}
"""


def dynamic():
    """Scales of activations that the network computes."""
    constants = {
        "W_quantized": integers(4, 6),
        "W_scale": scale(0.011),
        "W_zero_point": np.array(0, np.int8),
        "V_quantized": integers(6, 2),
        "V_scale": np.array([0.013, 0.007], np.float32),
        "V_zero_point": np.zeros(2, np.int8),
        "b": 1 + weights(6),
    }
    return written(DYNAMIC, constants, opset=14, producer="onnx.quantize")


QOPERATOR = """
main_graph (float[1,1,4,4] x) => (float[1,3] y) {
   x_q = QuantizeLinear (x, x_scale, x_zero_point)
   c_q = QLinearConv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x_q, x_scale, x_zero_point,
       w_quantized, w_scale, w_zero_point, c_scale, c_zero_point, w_bias_quantized)
   s_q = com.microsoft.QLinearSigmoid (c_q, c_scale, c_zero_point, s_scale, s_zero_point)
   m_q = com.microsoft.QLinearMul (c_q, c_scale, c_zero_point, s_q, s_scale, s_zero_point,
       m_scale, m_zero_point)
   a_q = com.microsoft.QLinearAdd (m_q, m_scale, m_zero_point, c_q, c_scale, c_zero_point,
       c_scale, c_zero_point)
   p_q = com.microsoft.QLinearGlobalAveragePool <channels_last = 0>
       (a_q, c_scale, c_zero_point, c_scale, c_zero_point)
   f_q = Flatten <axis = 1> (p_q)
   y_q = com.microsoft.QGemm <alpha = 1.0, transB = 1> (f_q, c_scale, c_zero_point,
       v_quantized, v_scale, v_zero_point, v_bias_quantized, y_scale, y_zero_point)
   y = DequantizeLinear (y_q, y_scale, y_zero_point)
}
"""


def qoperator():
    """Operators on integers, ONNX's and those of ONNX Runtime."""
    constants = {
        **per_channel("w", 2, 2, 1, 3, 3),
        **per_channel("v", 3, 3, 2),
        "x_scale": scale(0.004),
        "x_zero_point": byte(0),
        "c_scale": scale(0.009),
        "c_zero_point": byte(120),
        "s_scale": scale(1 / 256),
        "s_zero_point": byte(0),
        "m_scale": scale(0.0087),
        "m_zero_point": byte(60),
        "y_scale": scale(0.0021),
        "y_zero_point": byte(116),
    }
    kept = {name: x for name, x in constants.items() if name in QOPERATOR}
    return written(QOPERATOR, kept, opset=17, producer="onnx.quantize", domains=MS)


QUANTISED = {f.__name__: f for f in (qdq, qdq_softmax, dynamic, qoperator)}
