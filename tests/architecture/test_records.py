"""Dataclasses that are made late are those that are made at once, but for the time."""

import dataclasses
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, field, fields, replace
from functools import cached_property
from pathlib import Path
from threading import Barrier

import pytest

from verifier.families import registry
from verifier.ops import HOMES
from verifier.records import dataclass

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 2
    path: list[int] = field(default_factory=list, compare=False)

    @cached_property
    def length(self) -> int:
        return self.x + self.y


@dataclass(frozen=True, kw_only=True)
class Named(Point):
    name: str


class Plain(Named):
    def shout(self) -> str:
        return self.name.upper()


def test_a_late_dataclass_is_one():
    point = Point(1)
    assert (point.x, point.y, point.path, point.length) == (1, 2, [], 3)
    assert point == Point(1, path=[3])
    assert hash(point) == hash(Point(1))
    assert repr(point) == "Point(x=1, y=2, path=[])"
    assert replace(point, y=5) == Point(1, 5)
    with pytest.raises(FrozenInstanceError):
        setattr(point, "x", 2)  # noqa: B010
    with pytest.raises(TypeError):
        Point(1, 2, [], 3)  # pyright: ignore[reportCallIssue]


def test_subclasses_have_all_fields_whoever_is_first():
    late = Plain(1, name="a")
    assert (late.x, late.y, late.name, late.shout()) == (1, 2, "a", "A")
    assert [f.name for f in fields(late)] == ["x", "y", "path", "name"]


def test_whoever_asks_for_the_fields_has_the_class_made():
    @dataclass
    class Never:
        x: int

    @dataclasses.dataclass
    class AtOnce(Never):
        z: int

    assert dataclasses.is_dataclass(Never)
    assert [f.name for f in fields(Never)] == ["x"]
    assert AtOnce(1, 2) == AtOnce(x=1, z=2)


def test_what_is_unpickled_is_whole_where_the_class_was_never_used():
    given = pickle.dumps(Plain(1, name="a"))
    code = (
        "import pickle, sys, dataclasses\n"
        "found = pickle.loads(sys.stdin.buffer.read())\n"
        "print(dataclasses.replace(found, y=7))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], input=given, cwd=ROOT, capture_output=True, check=True
    )
    assert run.stdout.decode().strip() == "Plain(x=1, y=7, path=[], name='a')"


def test_a_class_may_be_used_first_by_many_threads_at_once():
    count = 8
    for _ in range(50):

        @dataclass(frozen=True)
        class Late(Point):
            z: int = 0

        ready = Barrier(count)

        def make(n: int, ready=ready, late=Late) -> int:
            ready.wait()
            return late(n, z=n).z

        with ThreadPoolExecutor(count) as pool:
            assert list(pool.map(make, range(count))) == list(range(count))


def test_operators_are_read_where_the_table_says():
    homes = {name: entry.read.__module__ for name, entry in registry.readers().items()}
    assert {name: f"verifier.ops.{module}" for name, module in HOMES.items()} == homes


def test_a_counterexample_imports_no_more_than_it_needs():
    code = (
        "import sys, verifier\n"
        "files = 'onnx/digits_mlp.onnx', 'vnnlib/digits_mlp_image1_eps0.3.vnnlib'\n"
        "found = verifier.verify(*(f'benchmarks/examples/{x}' for x in files))\n"
        "assert isinstance(found.verdict, verifier.Violated)\n"
        "print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    modules = set(run.stdout.decode().split())
    assert "verifier.ops.gemm" in modules
    needless = {"checker.check", "search.by_cells", "ops.grid_sample", "ops.recurrent"}
    assert not modules & ({f"verifier.{name}" for name in needless} | {"torch", "scipy"})
