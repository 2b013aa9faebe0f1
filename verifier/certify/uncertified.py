"""What the engine proves, but the checker has no rule for: such an ``unsat`` is "not certified".

Nor has it one for these forms of operators that otherwise have one: comparisons and choices that
depend on the input; properties with nonlinear terms, several networks, or names of hidden nodes;
products of very large variable matrices. And certificates have no place for the planes of products
and the tangents of curves that rows chose in a search over neurons, for sums of ReLUs that were
bounded as one function, for neurons that were bounded where the property fails, in pairs or as
functions of all that they read, nor for neurons before jumps and products that were bounded by
searches of their own.
"""

CURVED = "a curve without a proven bracket"
JUMPS = "a function that jumps"
MOVES = "an arrangement of numbers that the checker does not read"
COMPOSED = "made of several others, of which one has no rule, or which the checker does not read"

UNCERTIFIED = {
    **dict.fromkeys(
        (
            *("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Celu", "Cosh", "Elu", "Erf"),
            *("Gelu", "HardSwish", "Log", "Mish", "Selu", "Sinh", "Softplus", "Softsign"),
            *("Swish", "Tan"),
        ),
        CURVED,
    ),
    **dict.fromkeys(
        (
            *("And", "ArgMax", "ArgMin", "Ceil", "Greater", "GreaterOrEqual"),
            *("Less", "LessOrEqual", "Not", "Or", "QuantizeLinear", "Round", "Shrink", "Sign"),
            *("Mod", "QLinearConv", "QLinearMatMul", "ThresholdedRelu", "TopK"),
            *("Xor", "Hardmax", "ai.onnx.ml.Binarizer", "com.microsoft.QGemm"),
            *(
                f"com.microsoft.QLinear{name}"
                for name in (
                    *("Add", "AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "Mul"),
                    *("Sigmoid", "Softmax"),
                )
            ),
        ),
        JUMPS,
    ),
    **dict.fromkeys(
        (
            *("Col2Im", "Compress", "GatherND", "GridSample", "OneHot", "Resize", "Scatter"),
            *("IsInf", "IsNaN", "ReverseSequence"),
            *("ai.onnx.ml.ArrayFeatureExtractor", "ai.onnx.ml.ZipMap"),
            *("ScatterElements", "ScatterND", "Size", "SpaceToDepth", "Trilu", "Upsample"),
        ),
        MOVES,
    ),
    **dict.fromkeys(
        (
            *("ConvInteger", "CumSum", "DequantizeLinear", "Einsum", "GRU", "GlobalLpPool"),
            *("GroupNormalization", "LRN", "LpPool", "MatMulInteger", "ai.onnx.ml.Scaler"),
            *("HardSigmoid", "InstanceNormalization", "LSTM", "LogSoftmax", "LpNormalization"),
            *("Mean", "MeanVarianceNormalization", "PRelu", "RMSNormalization", "RNN"),
            *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd"),
            "ReduceSumSquare",
        ),
        COMPOSED,
    ),
}
"""ONNX operators with bound rules but without a checker rule, and why."""
