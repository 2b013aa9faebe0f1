"""What bounds hidden neurons, as the proof tree is told."""

import numpy as np
import pytest

from tests.graph.test_fold_tables import add
from verifier.certify import Tightened
from verifier.families import Maximum
from verifier.graph import Builder, Graph, Value
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.ops.sum import Sum
from verifier.search.record import HiddenRecorder
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
    record = HiddenRecorder(graph, 0, {}, told.append)
    record(1, (XP.ints([0, 4]), XP.floats([1.0, -1.0])), {})
    assert [type(graph.node(t.atom).operator) for t in told] == [Relu] * bent
