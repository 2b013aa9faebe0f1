"""Products of 8 bits: near enough to propose, and nothing is taken for proved by them."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bounds.test_bands import network, patterns_of
from tests.bounds.test_hulls import HullCase
from verifier.bounds import bands, products
from verifier.bounds.bands import Bands
from verifier.bounds.cuts import CutBands, CutLinks, CutNet
from verifier.bounds.products import Rough
from verifier.bounds.reduced import Reduced
from verifier.bounds.sweep import SLACK, Ascent, Swept, sweep_patterns
from verifier.tensors import Backend, numpy_backend, rough, torch_backend

MAKE = [numpy_backend, torch_backend]
OFF = 2.0**-7
"""What a factor of 8 bits on both sides may be off by, and what comes out."""


def with_tiles(monkeypatch, *, there: bool = True) -> None:
    for backend in ("numpy_arrays", "torch_arrays"):
        monkeypatch.setattr(f"verifier.tensors.{backend}.has_tiles", lambda: there)


@pytest.fixture
def everywhere(monkeypatch):
    """Whatever the machine and however small the products."""
    with_tiles(monkeypatch)
    monkeypatch.setattr(products, "SMALL", 1)
    for name in ("LONG", "LONG_IN_TORCH"):
        monkeypatch.setattr(bands, name, 1)
    yield
    rough.threads_again()


def expecting(net: Reduced, sweeps: int = 1000) -> Reduced:
    bands = Bands(net.xp, net.layers, net.weights, net.links)
    of_cuts = {"products": replace(net.products, bands=bands)} if isinstance(net, CutNet) else {}
    made = replace(net, bands=bands, **of_cuts)
    made.expect(sweeps)
    return made


def exactly(net: Reduced, found: Swept, patterns) -> np.ndarray:
    """What the multipliers give without rough products."""
    patterns = replace(patterns, tilt=found.tilt, weight=found.weight)
    return net.xp.numpy(sweep_patterns(net, patterns, Ascent(1, 0.0, 1.0)).least)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), make=st.sampled_from(MAKE), scale=st.sampled_from([1e-3, 1e3]))
def test_products_are_right_to_eight_bits(seed: int, make, scale: float):
    number = np.random.default_rng(seed)
    matrix = number.normal(size=(int(number.integers(1, 90)), int(number.integers(1, 90))))
    x = scale * number.normal(size=(matrix.shape[1], int(number.integers(1, 9))))
    xp = make("float32")
    of = rough.rough_product_of_numpy if xp.name == "numpy" else rough.rough_product
    try:
        for turned in (False, True):
            whole = xp.floats(xp.doubles(matrix))
            product = of(whole.T if turned else whole)
            other = x if not turned else scale * number.normal(size=(matrix.shape[0], 3))
            made = xp.numpy(product(xp.floats(xp.doubles(other))))
            exact, size = (
                (m.T if turned else m) @ y for m, y in ((matrix, other), (abs(matrix), abs(other)))
            )
            assert made.dtype == np.float32
            assert (abs(made - exact) <= OFF * size).all()
    finally:
        rough.threads_again()


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("kind", ["single", "summed", "unit"])
@pytest.mark.parametrize("last", [True, False])
def test_nothing_is_proved_by_products_that_are_far_off(
    make, kind: str, last: bool, everywhere, monkeypatch
):
    real, count = Rough.__call__, 0

    def far_off(self, x):
        made = real(self, x)
        row = np.arange(made.shape[0])[:, None]
        xp = make("float32")
        return made * (1 + 0.5 * xp.function("sin", xp.floats(xp.doubles(1.0 + row))))

    monkeypatch.setattr(Rough, "__call__", far_off)
    for seed in range(6):
        net, xp = network(seed, make("float32")), make("float32")
        patterns = patterns_of(net, seed, kind, count=80)
        net = _some_provable(net, patterns)
        found = sweep_patterns(expecting(net), patterns, Ascent(7, 0.35, 0.98, last=last))
        done = xp.numpy(found.proved) > 0
        assert (exactly(net, found, patterns)[done] > 0).all()
        count += int(done.sum())
    assert count > 20


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("kind", ["single", "summed", "unit"])
@pytest.mark.parametrize("last", [True, False])
def test_what_rough_sweeps_prove_is_proved(make, kind: str, last: bool, everywhere):
    proved = [0, 0]
    for seed in range(4):
        net, xp = network(seed, make("float32")), make("float32")
        patterns = patterns_of(net, seed, kind, count=80)
        net = _some_provable(net, patterns)
        ascent = Ascent(7, 0.35, 0.98, last=last, points=True)
        about, plain = (sweep_patterns(n, patterns, ascent) for n in (expecting(net), net))
        assert expecting(net).bands.is_rough
        assert not net.bands.is_rough
        least, done = exactly(net, about, patterns), xp.numpy(about.proved) > 0
        assert (least[done] > 0).all()
        assert (xp.numpy(about.least)[~done] <= SLACK * 1e4).all()
        proved[0] += int(done.sum())
        proved[1] += int(plain.proved.sum())
        left = ~done & (xp.numpy(plain.proved) == 0)
        size = abs(least).max()
        one, other = (xp.numpy(found.least)[left] for found in (about, plain))
        np.testing.assert_allclose(one, other, atol=0.05 * size)
    assert proved[1] > 60
    assert abs(proved[0] - proved[1]) <= 0.1 * proved[1]


def _some_provable(net: Reduced, patterns) -> Reduced:
    """The network with rows whose bounds are on both sides of 0."""
    found = sweep_patterns(net, patterns, Ascent(3, 0.35, 0.98))
    middle = float(np.median(net.xp.numpy(found.least)))
    return replace(net, row_bias=net.row_bias - middle)


@pytest.mark.parametrize("make", MAKE)
def test_cuts_are_swept_by_rough_products_too(make, everywhere):
    case = HullCase(7, make)
    made = case.hulled()
    assert made is not None
    sure, planes, _ = made
    assert isinstance(sure.net, CutNet)
    xp, patterns = make("float32"), case.multiplied(len(planes.neuron))
    arrays = {
        name: xp.floats(xp.doubles(case.xp.numpy(getattr(sure.net, name))))
        for name in sure.net.__dataclass_fields__
        if name not in ("xp", "layers", "bands", "pairs", "cuts", "products")
    }
    cuts = sure.net.cuts.on(xp, case.xp)
    bands = Bands(xp, sure.net.layers, arrays["weights"], arrays["links"])
    net = replace(
        sure.net,
        **arrays,
        xp=xp,
        pairs=sure.net.pairs.on(xp),
        cuts=cuts,
        bands=bands,
        products=CutBands(bands, sure.net.products.neuron, CutLinks.of(cuts)),
    )
    numbers = {n: case.xp.numpy(getattr(patterns, n)) for n in ("phase", "tilt", "weight")}
    single = {n: xp.floats(xp.doubles(x)) for n, x in numbers.items()}
    patterns = replace(patterns, **single, rows=xp.ints(case.xp.numpy(patterns.rows)))
    about, plain = (
        sweep_patterns(n, patterns, Ascent(7, 0.35, 0.98)) for n in (expecting(net), net)
    )
    followed = expecting(net)
    assert isinstance(followed, CutNet)
    assert isinstance(followed.products.links_of(rough=True).to_inputs, Rough)
    size = 1 + abs(xp.numpy(plain.least)).max()
    np.testing.assert_allclose(xp.numpy(about.least), xp.numpy(plain.least), atol=0.1 * size)


def has_rough(xp: Backend, sweeps: int) -> bool:
    net = network(0, xp)
    net.bands.expect(sweeps)
    return net.bands.is_rough


@pytest.mark.parametrize("make", MAKE)
def test_only_long_searches_in_single_precision_have_rough_products(make, monkeypatch):
    with_tiles(monkeypatch)
    many = 10**8
    assert has_rough(make("float32"), many)
    assert not has_rough(make("float32"), 100)
    assert not has_rough(make("float64"), many)
    with_tiles(monkeypatch, there=False)
    assert not has_rough(make("float32"), many)
    rough.threads_again()


ALONE = """
import numpy as np
from verifier.tensors import numpy_backend, rough
with numpy_backend("float32").single_threaded():
    rough.rough_product_of_numpy(np.ones((3, 3), dtype=np.float32))
    import torch
    print(torch.get_num_threads())
    rough.rough_product_of_numpy(np.ones((3, 3), dtype=np.float32))
print(torch.get_num_threads())
"""


def test_torch_has_its_threads_again_after_a_search():
    """Where it was not there before."""
    found = list[str]()
    for code in ("import torch; print(torch.get_num_threads())", ALONE):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"OMP_NUM_THREADS": "2"},
            capture_output=True,
            text=True,
            check=True,
        )
        found += done.stdout.split()
    assert found == [found[0], "1", found[0]]
