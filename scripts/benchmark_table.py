#!/usr/bin/env python3
"""Import and bound the networks of benchmark sets: one line for each benchmark.

python scripts/benchmark_table.py SETS [--only NAME] [--seconds S] [--samples N] [--verbose]

A network's box is the first case of the first property that names it, or a small one. For each
network: import time, nodes, the largest difference to ONNX Runtime at 20 points of the box, and
whether interval and CROWN bounds of all values are finite and hold the values at random points.
Of large networks of one architecture only the first five are taken.
"""

from __future__ import annotations

import argparse
import csv
import os
import pickle
import select
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

LARGE = 500_000
"""Parameters from which only some networks of an architecture are taken."""
SOME = 5
CHUNK = 50


@dataclass
class Row:
    """What is known about one network."""

    nodes: int = 0
    parameters: int = 0
    seconds: float = 0.0
    difference: float = 0.0
    scale: float = 0.0
    ends: dict[str, str] = field(default_factory=dict[str, str])
    """For each method ``ok``, ``not finite``, ``outside``, ``timeout``, or an error."""
    error: str = ""


def architecture(path: Path) -> tuple[Any, int]:
    """What networks of one shape have in common, and the number of parameters."""
    from verifier.load.onnx.read import read_model

    _, proto = read_model(path)
    shapes = sorted(tuple(tensor.dims) for tensor in proto.graph.initializer)
    operators = tuple(node.op_type for node in proto.graph.node)
    return (operators, tuple(shapes)), sum(int(np.prod(shape)) for shape in shapes)


def models_of(folder: Path) -> tuple[list[Path], int]:
    """The networks to take, and how many there are."""
    found = sorted(p for p in folder.rglob("*.onnx*") if p.is_file())
    counts: Counter[Any] = Counter()
    taken = []
    for path in found:
        kind, parameters = architecture(path)
        counts[kind] += 1
        if parameters < LARGE or counts[kind] <= SOME:
            taken.append(path)
    return taken, len(found)


def properties_of(folder: Path) -> dict[str, str]:
    """The first property of each network."""
    table = folder / "instances.csv"
    result: dict[str, str] = {}
    if table.exists():
        for row in csv.reader(table.open(encoding="utf-8")):
            result.setdefault(row[0], row[1])
    return result


def box_of(model: Any, folder: Path, prop: str | None) -> tuple[Any, np.ndarray, np.ndarray]:
    """The graph over the free inputs, and a box."""
    for path in (folder / f"{prop}.gz", folder / str(prop)) if prop else ():
        if path.exists() and path.stat().st_size < 2_000_000:
            try:
                return case_of(model, path)
            except Exception:
                break  # Several networks, nonlinear terms, another size: take a box of our own.
    count = sum(port.size for port in model.inputs)
    middle = np.random.default_rng(0).uniform(0, 1, (1, count))
    lower, upper = middle - 0.05, middle + 0.05
    if model.cells:
        lower, upper = in_cell(model, lower, upper)
    return model.graph, lower, upper


def case_of(model: Any, path: Path) -> tuple[Any, np.ndarray, np.ndarray]:
    """The graph and the box of the first case of a property."""
    from verifier.load.vnnlib import read_query
    from verifier.spec import Problem, cases_of

    query = read_query(path)
    if model.cells:
        batch = cases_of(query).take(0, 1)
        return model.graph, *in_cell(model, batch.lower, batch.upper)
    problem = Problem.of(model.graph, query)
    batch = problem.take(0, 1)
    return problem.graph, batch.lower, batch.upper


def in_cell(model: Any, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a box where what is truncated to integers stays as it is at its lower end."""
    lower, upper = lower.copy(), upper.copy()
    places = model.cells.inputs
    lower[:, places] = upper[:, places] = np.ceil(lower[:, places])
    return model.extended(lower), model.extended(upper)


def compare(row: Row, path: Path, folder: Path, prop: str | None) -> tuple[Any, ...]:
    """Import a network, and compare it with ONNX Runtime in its box."""
    from verifier.load.onnx import load_model, runtime
    from verifier.tensors import numpy_backend, torch_backend

    start = time.monotonic()
    model = load_model(path)
    row.seconds = time.monotonic() - start
    row.nodes = len(model.graph.nodes)
    row.parameters = architecture(path)[1]
    graph, lower, upper = box_of(model, folder, prop)
    xp = torch_backend("float64") if graph.wants_torch else numpy_backend("float64")
    generator = np.random.default_rng(1)
    if graph is model.graph and not model.cells:
        points = model.rounded(lower + generator.random((20, lower.shape[1])) * (upper - lower))
    else:
        points = model.rounded(
            generator.uniform(0, 1, (20, sum(port.size for port in model.inputs)))
        )
    ours = xp.numpy(model.graph.on(xp).evaluate(xp.floats(model.extended(points))))
    theirs = runtime.run(model, points)
    row.difference = float(abs(ours - theirs).max(initial=0.0))
    row.scale = float(abs(theirs).max(initial=0.0))
    return graph.on(xp), lower, upper


def judge(method: Callable[..., Any], subject: tuple[Any, ...], samples: int) -> str:
    """Are a method's boxes finite, and do they hold sampled values?"""
    from verifier.sets import Box

    graph, lower, upper = subject
    xp = graph.xp
    boxes = method(graph, Box(xp.floats(lower), xp.floats(upper))).boxes
    output = boxes[graph.output]
    finite = np.isfinite(xp.numpy(output.lower)).all() and np.isfinite(xp.numpy(output.upper)).all()
    generator = np.random.default_rng(2)
    for _ in range(0, samples, CHUNK):
        points = lower + generator.random((CHUNK, lower.shape[1])) * (upper - lower)
        for box, value in zip(boxes, graph.values(xp.floats(points)), strict=True):
            low, high, y = xp.numpy(box.lower), xp.numpy(box.upper), xp.numpy(value)
            slack = 1e-10 * (1 + abs(y))
            if ((y < low - slack) | (y > high + slack)).any():
                return "outside"
    return "ok" if finite else "not finite"


def _crown(deadline: float) -> Callable[..., Any]:
    from verifier.bounds import crown
    from verifier.settings import BoundSettings

    settings = BoundSettings(deadline=deadline)
    return lambda graph, box: crown(graph, box, settings).enclosure


def steps(given: argparse.Namespace, path: Path, folder: Path, prop: str | None) -> Iterator[Row]:
    """What is known about a network, after each step."""
    from verifier.bounds import interval
    from verifier.errors import VerifierError
    from verifier.settings import DeadlinePassed

    row = Row()
    np.seterr(all="ignore")
    try:
        subject = compare(row, path, folder, prop)
        yield row
        row.ends["interval"] = judge(interval, subject, given.samples)
        row.ends["crown"] = "timeout"
        yield row
        method = _crown(time.monotonic() + given.seconds)
        row.ends["crown"] = judge(method, subject, given.samples)
    except DeadlinePassed:
        row.ends["crown"] = "timeout"
    except VerifierError as error:
        row.error = f"{type(error).__name__}: {str(error)[:150]}"
    except Exception as error:
        row.error = f"crash: {type(error).__name__}: {str(error)[:150]}"
    yield row


def measured(given: argparse.Namespace, path: Path, folder: Path, prop: str | None) -> Row:
    """One network in a process of its own, with a limit on its time."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        for row in steps(given, path, folder, prop):
            data = pickle.dumps(row)
            os.write(writer, len(data).to_bytes(4, "big") + data)
        os._exit(0)
    os.close(writer)
    row, end = Row(error="timeout"), time.monotonic() + 4 * given.seconds
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, end - time.monotonic()))
        head = os.read(reader, 4) if ready else b""
        if not head:
            break
        row = pickle.loads(os.read(reader, int.from_bytes(head, "big")))
    os.kill(child, signal.SIGKILL)
    os.close(reader)
    os.waitpid(child, 0)
    return row


def line(name: str, total: int, rows: list[Row]) -> str:
    """A benchmark in one line."""
    read = [row for row in rows if not row.error]
    times, nodes = [row.seconds for row in read], [row.nodes for row in read]
    off = max((row.difference / max(row.scale, 1.0) for row in read), default=0.0)
    methods: dict[str, Counter[str]] = defaultdict(Counter)
    for row in read:
        for method in ("interval", "crown"):
            methods[method][row.ends.get(method, "timeout")] += 1
    ends = " | ".join(
        ", ".join(f"{count} {end}" for end, count in methods[m].most_common()) or "-"
        for m in ("interval", "crown")
    )
    span = f"{min(nodes, default=0)}-{max(nodes, default=0)}"
    longest = f"{max(times, default=0.0):.2f}"
    return f"{name} | {total} | {len(rows)} | {len(read)} | {longest} | {span} | {off:.1e} | {ends}"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", type=Path, help="a folder of benchmarks")
    parser.add_argument("--only", nargs="*", help="names of benchmarks")
    parser.add_argument("--seconds", type=float, default=30.0, help="the limit for CROWN")
    parser.add_argument("--samples", type=int, default=1000, help="points in each box")
    parser.add_argument("--verbose", action="store_true", help="also a line for each network")
    given = parser.parse_args()
    # What the children need is imported once.
    import torch

    torch.set_num_threads(1)
    print("benchmark | models | taken | read | longest import s | nodes | off | interval | crown")
    for folder in sorted(p for p in given.sets.iterdir() if p.is_dir()):
        if given.only and folder.name not in given.only:
            continue
        models, total = models_of(folder)
        known, rows = properties_of(folder), []
        for path in models:
            name = path.relative_to(folder).as_posix().removesuffix(".gz")
            row = measured(given, path, folder, known.get(name))
            rows.append(row)
            if given.verbose or row.error:
                print(f"    {name}: {row}", file=sys.stderr, flush=True)
        if models:
            print(line(folder.name, total, rows), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
