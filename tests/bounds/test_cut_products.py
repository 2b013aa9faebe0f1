"""Products with cuts in groups: what dense ones give, where cuts read what their neurons read."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bounds.test_bands import SEEDS, network, patterns_of
from verifier.bounds import bands as bands_module
from verifier.bounds import products
from verifier.bounds.bands import WORTH, Bands
from verifier.bounds.cuts import CutNet, Cuts
from verifier.bounds.paired import PairedNet
from verifier.bounds.pairs import Pairs
from verifier.bounds.products import Product
from verifier.bounds.sweep import Ascent, sweep_patterns
from verifier.tensors import Backend, numpy_backend, torch_backend


def with_cuts(seed: int, xp: Backend) -> CutNet:
    """A local network with a cut for most of its neurons."""
    net, number = network(seed, xp), np.random.default_rng(seed + 1)
    neuron = np.flatnonzero(number.random(net.neurons) < 0.8)
    reads = xp.numpy(net.links)[neuron], xp.numpy(net.weights)[neuron]
    links, inputs = (-x * number.uniform(0, 1, x.shape) for x in reads)
    links[np.arange(len(neuron)), neuron] += 1.0
    bias, unit = -number.uniform(0, 1, len(neuron)), number.uniform(0, 1, len(neuron))
    arrays = (xp.floats(xp.doubles(x)) for x in (links, inputs, bias, 0 * unit, unit))
    bands = Bands(xp, net.layers, net.weights, net.links)
    paired = PairedNet.of_net(replace(net, bands=bands), Pairs.none(net.neurons, xp))
    return CutNet.of_paired(paired, Cuts(*arrays), neuron)


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.sampled_from([numpy_backend, torch_backend]))
def test_sweeps_with_grouped_cuts_are_those_with_dense_ones(seed: int, make):
    xp, ascent = make("float64"), Ascent(4, 0.3, 0.98)
    dense, net = with_cuts(seed, xp), with_cuts(seed, xp)
    net.expect(WORTH)
    assert net.products.grouped
    assert not dense.products.grouped
    assert any(p.groups for p in (net.products.plain.to_inputs, net.products.plain.of_inputs))
    patterns = patterns_of(dense, seed, "single")
    kappa = np.random.default_rng(seed).exponential(size=(9, len(net.products.neuron)))
    tilt = xp.cat([patterns.tilt, patterns.tilt * 0, xp.floats(xp.doubles(kappa))], 1)
    one, other = (sweep_patterns(n, replace(patterns, tilt=tilt), ascent) for n in (dense, net))
    for name in ("least", "tilt", "passed"):
        found, expected = (xp.numpy(getattr(x, name)) for x in (other, one))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.floats(0, 0.2), st.booleans())
def test_products_in_given_parts_are_dense_products(seed: int, share: float, empty: bool):
    number, xp = np.random.default_rng(seed), numpy_backend("float64")
    made, read = number.integers(130, 260, 2).tolist()
    matrix = number.normal(size=(made, read)) * (number.random((made, read)) < share)
    part = number.integers(0, 9, made)
    if empty:
        matrix[part == 2] = 0.0
        matrix[:, : read // 2][part < 5] = 0.0
    parts = [np.flatnonzero(part == i) for i in range(9)]
    x = number.normal(size=(read, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "PAYS", float("inf"))
        product = Product.in_parts(matrix, xp, parts)
    assert bool(product.groups) == bool((matrix != 0).any())
    np.testing.assert_allclose(product(x), matrix @ x, rtol=1e-12, atol=1e-12)


def test_what_reads_all_stays_dense():
    number, xp = np.random.default_rng(0), numpy_backend("float64")
    matrix = number.normal(size=(200, 150))
    assert not Product.in_parts(matrix, xp, [np.arange(100), np.arange(100, 200)]).groups


def test_parts_hold_each_element_once():
    net = with_cuts(3, numpy_backend("float64"))
    for grouped in (False, True):
        if grouped:
            net.expect(WORTH)
        neurons, inputs = net.bands.parts
        assert sorted(np.concatenate(neurons).tolist()) == list(range(net.neurons))
        assert sorted(np.concatenate(inputs).tolist()) == list(range(net.inputs))
    assert bands_module._partition([np.array([0, 2])], 4)[1].tolist() == [1, 3]


@pytest.mark.parametrize("make", [numpy_backend, torch_backend])
def test_groups_multiply_no_columns_too(make):
    """A layer of which no bound got better is sealed, too."""
    xp, matrix = make("float64"), np.kron(np.eye(16), np.ones((12, 12)))
    parts = [np.arange(12 * i, 12 * i + 12) for i in range(16)]
    product = Product.in_parts(xp.floats(xp.doubles(matrix)), xp, parts)
    assert product.groups
    assert tuple(product(xp.zeros(192, 0)).shape) == (192, 0)
