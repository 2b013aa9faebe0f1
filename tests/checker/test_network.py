"""ONNX files become the right networks, and broken ones one clear line."""

import contextlib
import gzip
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import set_external_data
from onnx.helper import make_node as node

from tests.checker.onnx_files import evaluate, execute, file
from verifier.checker.affine import Affine, Dense
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.atoms import Relu
from verifier.checker.errors import Unreadable, Unsupported
from verifier.checker.network import read_network

BENCHMARKS = Path(__file__).parents[3] / "shared" / "benchmarks"
READABLE = [
    "acasxu",
    "cersyve",
    "collins_rul_cnn",
    "dist_shift",
    "eran",
    "linearizenn",
    "mnist_fc",
    "oval21",
    "reach_prob_density",
    "rl_benchmarks",
    "safenlp",
    "sri_resnet_a",
    "test",
]
RNG = np.random.default_rng(0)


def weights(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def read(*nodes, shape=(1, 2), outputs=("y",), opset=17, **constants):
    data = file(list(nodes), shape, constants, outputs, opset)
    return read_network(data, Arithmetic())


def agree(data, network, x, tolerance=1e-5):
    computed = evaluate(network, x[None].astype(float))[network.output][0]
    executed = execute(data, x)
    np.testing.assert_allclose(computed, executed, atol=tolerance * (1 + abs(executed).max()))


@pytest.mark.parametrize("benchmark", READABLE)
def test_benchmarks_are_read(benchmark):
    folder = BENCHMARKS / benchmark
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    paths = sorted(folder.glob("**/*.onnx*"))
    for path in paths[:: max(1, len(paths) // 12)]:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        network = read_network(data, Arithmetic())
        x = RNG.uniform(size=network.sizes[0]).astype(np.float32)
        agree(data, network, x)
        rules = [step.rule for step in network.nodes if isinstance(step.rule, Affine)]
        widths = [network.sizes[0], *(rule.size for rule in rules)]
        assert set(widths) <= set(network.sizes)
        assert network.single_precision == (network.input_types == ("float32",))


def test_nodes_name_tensors_and_shapes_are_no_nodes():
    network = read(
        node("Flatten", ["x"], ["f"]),
        node("Identity", ["f"], ["i"]),
        node("MatMul", ["i", "w"], ["h"]),
        node("Add", ["h", "b"], ["p"]),
        node("Relu", ["p"], ["r"]),
        node("Dropout", ["r"], ["d"]),
        node("Reshape", ["d", "s"], ["y"]),
        shape=[1, 2, 1],
        w=weights(2, 3),
        b=weights(3),
        s=np.array([0, -1, 1]),
    )
    assert [step.name for step in network.nodes] == ["p", "r"]
    assert [step.inputs for step in network.nodes] == [(0,), (1,)]
    assert network.sizes == (2, 3, 3)
    assert network.output == 2
    assert isinstance(network.nodes[1].rule, Relu)
    assert isinstance(network.nodes[0].rule, Affine)
    assert isinstance(network.nodes[0].rule.matrix, Dense)


def test_a_product_that_others_read_too_stays():
    network = read(
        node("MatMul", ["x", "w"], ["h"]),
        node("Add", ["h", "b"], ["p"]),
        node("Relu", ["h"], ["r"]),
        node("Sub", ["p", "r"], ["y"]),
        w=weights(2, 2),
        b=weights(2),
    )
    assert [step.name for step in network.nodes] == ["h", "p", "r", "y"]
    assert [step.inputs for step in network.nodes] == [(0,), (0,), (1,), (2, 3)]


def test_a_second_constant_is_added_by_a_node_of_its_own():
    network = read(
        node("Gemm", ["x", "w", "b"], ["h"]),
        node("Sub", ["h", "b"], ["y"]),
        w=weights(2, 2),
        b=weights(2),
    )
    assert [step.name for step in network.nodes] == ["h", "y"]
    first, second = (step.rule for step in network.nodes)
    assert isinstance(first, Affine)
    assert isinstance(second, Affine)
    np.testing.assert_array_equal(second.bias, -first.bias)


def test_float32_terms_add_up_along_affine_nodes():
    data = file(
        [
            node("MatMul", ["x", "w"], ["h"]),
            node("Mul", ["h", "b"], ["m"]),
            node("Transpose", ["m"], ["t"]),
            node("Add", ["t", "b"], ["a"]),
            node("Relu", ["a"], ["r"]),
            node("MatMul", ["r", "v"], ["y"]),
        ],
        [2, 7],
        {"w": weights(7, 2), "b": weights(2), "v": weights(2, 1)},
    )
    rules = [step.rule for step in read_network(data, Arithmetic()).nodes]
    terms = [rule.terms_float32 for rule in rules if isinstance(rule, Affine)]
    assert terms == [9, 9, 0, 9, 2]


def test_several_inputs_and_outputs_lie_one_after_the_other():
    data = file(
        [
            node("Concat", ["b", "a"], ["c"], axis=1),
            node("Relu", ["c"], ["r"]),
            node("Neg", ["a"], ["n"]),
        ],
        {"a": [1, 2], "b": [1, 3]},
        outputs=("r", "n"),
    )
    network = read_network(data, Arithmetic())
    assert network.sizes[0] == 5
    assert network.sizes[network.output] == 7
    assert network.input_types == ("float32", "float32")
    x = np.arange(-2.0, 3.0)
    values = evaluate(network, x[None])[network.output][0]
    np.testing.assert_array_equal(values, execute(data, x))
    np.testing.assert_array_equal(values, [0, 1, 2, 0, 0, 2, 1])


def test_the_input_may_be_the_output():
    network = read(node("Identity", ["x"], ["y"]))
    assert (network.nodes, network.sizes, network.output) == ((), (2,), 0)


def test_what_the_outputs_do_not_need_is_ignored():
    network = read(node("Softmax", ["x"], ["z"]), node("Relu", ["x"], ["y"]))
    assert [step.name for step in network.nodes] == ["y"]


def test_constants_are_moved_and_integers_computed():
    data = file(
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"], axis=0),
            node("Mul", ["n", "two"], ["m"]),
            node("Unsqueeze", ["m", "axis"], ["u"]),
            node("Constant", [], ["rest"], value_ints=[-1]),
            node("Concat", ["u", "rest"], ["t"], axis=0),
            node("Cast", ["t"], ["c"], to=7),
            node("Reshape", ["x", "c"], ["r"]),
            node(
                "ConstantOfShape",
                ["axis1"],
                ["k"],
                value=onnx.numpy_helper.from_array(np.array([2], dtype=np.float32)),
            ),
            node("Mul", ["r", "k"], ["y"]),
        ],
        ["batch", 4],
        {
            "zero": np.array(0),
            "two": np.array(2),
            "axis": np.array([0]),
            "axis1": np.array([2]),
        },
    )
    network = read_network(data, Arithmetic())
    np.testing.assert_array_equal(evaluate(network, np.ones((1, 4)))[-1], [[2, 2, 2, 2]])


def test_atoms_are_read():
    atoms = [
        node("LeakyRelu", ["x"], ["a"], alpha=0.3),
        node("Clip", ["a", "low", ""], ["b"]),
        node("Abs", ["b"], ["c"]),
        node("Sigmoid", ["c"], ["d"]),
        node("Tanh", ["d"], ["e"]),
        node("Clip", ["e", "", "high"], ["f"]),
        node("LeakyRelu", ["f"], ["y"]),
    ]
    constants = {"low": np.float32(-0.5), "high": np.float32(0.6)}
    data = file(atoms, [1, 100], constants)
    agree(data, read_network(data, Arithmetic()), weights(100) * 3)
    data = file([node("Clip", ["x"], ["y"], min=0.0, max=6.0)], [1, 50], opset=8)
    agree(data, read_network(data, Arithmetic()), weights(50) * 5)


def test_doubles_and_half_precision():
    for kind, name in ((np.float64, "float64"), (np.float16, "float16")):
        data = file([node("MatMul", ["x", "w"], ["y"])], [1, 2], {"w": np.array([[1], [2]], kind)})
        model = onnx.ModelProto.FromString(data)
        elem = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        model.graph.input[0].type.tensor_type.elem_type = elem
        network = read_network(model.SerializeToString(), Arithmetic())
        assert network.input_types == (name,)
        assert not network.single_precision
    with pytest.raises(Unreadable, match="float32"):
        read_network(data, Arithmetic())


def test_missing_rules_are_named_all_at_once():
    with pytest.raises(Unsupported) as caught:
        read(
            node("Softsign", ["x"], ["s"], name="soft"),
            node("Erf", ["s"], ["p"], name="erf"),
            node("Elu", ["x"], ["q"], name="elu"),
            node("Relu", ["q"], ["r"], name="fine"),
            node("Add", ["p", "r"], ["y"]),
        )
    text = str(caught.value)
    assert all(label in text for label in ("Softsign (soft)", "Erf (erf)", "Elu (elu)"))
    assert "fine" not in text
    assert "\n" not in text


UNSUPPORTED = {
    "unknown attribute": (node("Relu", ["x"], ["y"], hidden=1), {}),
    "too many inputs": (node("Relu", ["x", "x"], ["y"]), {}),
    "other domain": (node("Relu", ["x"], ["y"], domain="com.microsoft"), {}),
    "training": (node("Dropout", ["x", "", "t"], ["y"]), {"t": np.array(True)}),
    "pads twice": (
        node("Conv", ["x", "c"], ["y"], auto_pad="VALID", pads=[1, 1]),
        {"c": weights(1, 1, 1)},
    ),
    "empty": (node("Slice", ["x", "c", "c"], ["y"]), {"c": np.array([1])}),
    "integers of floats": (node("Cast", ["x"], ["y"], to=7), {}),
    "negative pads": (node("Pad", ["x", "p"], ["y"]), {"p": np.array([0, -1, 0, 0])}),
    "empty range": (node("Clip", ["x", "a", "b"], ["y"]), {"a": np.float32(2), "b": np.float32(1)}),
    "variable kernel": (node("Conv", ["x", "x"], ["y"]), {}),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_nodes_are_named(name):
    step, constants = UNSUPPORTED[name]
    with pytest.raises(Unsupported, match=step.op_type):
        read(step, shape=[1, 1, 2] if step.op_type == "Conv" else [1, 2], **constants)


def test_versions_functions_and_sparse_constants():
    for opset in (7, 23):
        with pytest.raises(Unsupported, match="need 8 to 22"):
            read(node("Relu", ["x"], ["y"]), opset=opset)


BROKEN = {
    "division by zero": (node("Div", ["x", "c"], ["y"]), {"c": np.array([1, 0], dtype=np.float32)}),
    "infinite weight": (
        node("Mul", ["x", "c"], ["y"]),
        {"c": np.array([1, np.inf], dtype=np.float32)},
    ),
    "no number": (node("Add", ["x", "c"], ["y"]), {"c": np.array([1, np.nan], dtype=np.float32)}),
    "other type": (node("Add", ["x", "c"], ["y"]), {"c": np.array([1, 2], dtype=np.float64)}),
    "integers": (node("Add", ["x", "c"], ["y"]), {"c": np.array([1, 2])}),
    "shapes of a product": (node("MatMul", ["x", "c"], ["y"]), {"c": weights(3, 2)}),
    "shapes of a gemm": (node("Gemm", ["x", "c"], ["y"]), {"c": weights(3, 2)}),
    "shape of a bias": (
        node("Gemm", ["x", "c", "d"], ["y"]),
        {"c": weights(2, 2), "d": weights(3)},
    ),
    "shapes of a sum": (node("Add", ["x", "c"], ["y"]), {"c": weights(3)}),
    "index": (node("Gather", ["x", "c"], ["y"]), {"c": np.array([7])}),
    "reshape": (node("Reshape", ["x", "c"], ["y"]), {"c": np.array([3])}),
    "axis": (node("ReduceSum", ["x", "c"], ["y"]), {"c": np.array([2])}),
    "undefined": (node("Relu", ["z"], ["y"]), {}),
    "defined twice": (node("Relu", ["x"], ["x"]), {}),
    "infinite slope": (node("LeakyRelu", ["x"], ["y"], alpha=np.inf), {}),
    "missing input": (node("Add", ["x"], ["y"]), {}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_nodes_are_one_line(name):
    step, constants = BROKEN[name]
    with pytest.raises(Unreadable) as caught:
        read(step, **constants)
    assert "\n" not in str(caught.value)


def test_broken_bytes_are_no_tracebacks():
    data = file([node("Gemm", ["x", "w"], ["y"])], [1, 2], {"w": weights(2, 2)})
    rng = np.random.default_rng(1)
    for _ in range(300):
        broken = bytearray(data[: rng.integers(0, len(data) + 1)])
        for place in rng.integers(0, max(len(broken), 1), 3) if broken else ():
            broken[place] = rng.integers(0, 256)
        with contextlib.suppress(Unreadable, Unsupported):
            read_network(bytes(broken), Arithmetic())
    for text in (b"", b"not a network", b"\x00" * 100):
        with pytest.raises(Unreadable) as caught:
            read_network(text, Arithmetic())
        assert "\n" not in str(caught.value)


def test_inputs_need_known_shapes():
    for shape in ([1, "n"], ["n", 3, 0]):
        with pytest.raises(Unsupported, match="known sizes"):
            read(node("Relu", ["x"], ["y"]), shape=shape)
    assert read(node("Relu", ["x"], ["y"]), shape=["n", 3]).sizes == (3, 3)


def test_external_data_must_lie_in_the_folder(tmp_path):
    weight = weights(2, 3)
    data = file([node("MatMul", ["x", "w"], ["y"])], [1, 2], {"w": weight})
    inside = tmp_path / "inside"
    inside.mkdir()
    for place in (inside / "w.bin", tmp_path / "w.bin"):
        place.write_bytes(b"pad!" + weight.tobytes())

    def external(location):
        model = onnx.ModelProto.FromString(data)
        tensor = model.graph.initializer[0]
        set_external_data(tensor, location, offset=4, length=24)
        tensor.ClearField("raw_data")
        return model.SerializeToString()

    rule = read_network(external("w.bin"), Arithmetic(), inside).nodes[0].rule
    assert isinstance(rule, Affine)
    np.testing.assert_array_equal(rule.rows(np.arange(3))[0], weight.T)
    (inside / "link").symlink_to(tmp_path / "w.bin")
    for location in ("../w.bin", str(tmp_path / "w.bin"), "absent", "link"):
        with pytest.raises(Unreadable):
            read_network(external(location), Arithmetic(), inside)
    with pytest.raises(Unreadable, match="folder"):
        read_network(external("w.bin"), Arithmetic())
