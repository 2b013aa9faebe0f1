"""What bounds hidden neurons, as the proof tree is told."""

import numpy as np
import pytest

from tests.checker.proofs import Net, statement
from tests.graph.test_fold_tables import add
from verifier.api import load
from verifier.bounds import Enclosure
from verifier.certify import ProofTree, Tightened
from verifier.certify.write import Subject, certificate
from verifier.checker.container import read_container
from verifier.families import Maximum
from verifier.graph import Builder, Graph, Value
from verifier.load.vnnlib import read_query
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.ops.sum import Sum
from verifier.search.record import HiddenRecorder
from verifier.search.sign_patterns import Neurons, passing_neurons, unstable_neurons
from verifier.sets import Box
from verifier.spec import Problem
from verifier.tensors import numpy_backend

XP = numpy_backend()


def three_at_a_time(*, bent: bool) -> Graph:
    """Six numbers (value 1), the greatest of each half (value 2), and perhaps ReLUs of all six."""
    builder = Builder(2)
    numbers = add(builder, Linear.of(np.ones((6, 2))), Value(0, (2,)))
    greatest = add(builder, Maximum.of(np.arange(6).reshape(2, 3), 6), numbers)
    total = add(builder, Linear.of(np.ones((6, 2))), greatest)
    if not bent:
        return builder.finish(total)
    return builder.finish(add(builder, Sum.of(6, (1, 1)), total, add(builder, Relu.of(6), numbers)))


@pytest.mark.parametrize("bent", [False, True])
def test_what_is_recorded_is_about_a_reader_that_certificates_can_name(bent: bool):
    """A maximum is none: a record that named it would be rejected."""
    told = list[Tightened]()
    graph = three_at_a_time(bent=bent).on(XP)
    record = HiddenRecorder(graph, (0, 0), {}, told.append)
    here = Enclosure.over(graph, Box(XP.zeros(1, 2), XP.zeros(1, 2)))
    record(here, 1, (XP.ints([0, 4]), XP.floats([1.0, -1.0])), {})
    assert [type(graph.node(t.atom).operator) for t in told] == [Relu] * bent


def test_neurons_that_are_their_own_input_have_slope_1_in_certificates(tmp_path):
    """Whoever repeats the proof may find one a hair below 0, where a slope of 0 loses all of it."""
    g = np.random.default_rng(0)
    net = Net.random(g, (2, 6, 4, 1))
    (tmp_path / "net.onnx").write_bytes(net.file())
    (tmp_path / "p.vnnlib").write_bytes(statement(net, g, 1, 1, 1).text())
    graph = load(tmp_path / "net.onnx").graph
    problem = Problem.of(graph, read_query(tmp_path / "p.vnnlib"))
    first, last = graph.nonlinear
    (source,), region = graph.node(first).inputs, Box(XP.zeros(1, 2) - 9.0, XP.zeros(1, 2) + 9.0)
    root = Enclosure.within(graph.on(XP), region, {})
    neurons = unstable_neurons(root)
    assert len(neurons[first]) == 6
    positive = Box(root.boxes[source].lower, root.boxes[source].upper)
    positive.lower[0, [1, 4]] = 0.0
    known = Enclosure.within(root.graph, region, {source: positive})
    assert (passing_neurons(known) == (first << 32) + np.array([1, 4])).all()
    tree = ProofTree(XP, 1)
    record = HiddenRecorder(known.graph, (0, 0), neurons, tree.tighten)
    (read,) = graph.node(last).inputs
    one = XP.full((1,), 1.0)
    record(root, read, (XP.ints([0]), one), {first: XP.zeros(1, 6) + 0.2})
    record(known, read, (XP.ints([1]), one), {first: XP.zeros(1, 6) + 0.2})
    layer = [Neurons(first, source, XP.ints([0, 2, 3, 5]))]
    parts = np.zeros(1, int), np.zeros((1, 4)), np.zeros((1, 4)) + 0.2
    record.in_parts(known, read, (XP.ints([2]), one), layer, parts)
    data, _ = certificate(tree, problem, Subject("net", "0" * 64, "p", "0" * 64))
    arrays = read_container(data).arrays
    assert arrays["hidden_neuron"].tolist() == [0, 1, 2]
    assert arrays["hidden_alpha"][:, :6].tolist() == [[51] * 6] + [[51, 255, 51, 51, 255, 51]] * 2
