"""Certificates with something wrong in them: every array, every key, the tree and the bytes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.checker.containers import archive, canonical
from tests.checker.proofs import Proof
from tests.checker.trees import Tree, complete, flatten, grow, random_parts
from verifier.checker.container import read_container
from verifier.checker.proof import CLAUSE, CLIP, INPUT, JOINTLY, LEAF, MEMBERS, MIX, NEURON
from verifier.checker.proof import HIDDEN as TIGHTEN
from verifier.checker.proof import ROWS as BOUND

Generator = np.random.Generator
Mutant = tuple[str, bytes]

# ----------------------------------------------------------------------------------------- arrays


def odd_value(dtype: np.dtype[Any], g: Generator) -> Any:
    """A number of a type, often an extreme one."""
    if dtype.kind == "f":
        scale = g.choice([0, 1e-300, 1e-3, 1, 10, 1e30, float(np.finfo(dtype).max)])
        return dtype.type(g.choice([-1, 1]) * min(scale, float(np.finfo(dtype).max)))
    limits = np.iinfo(dtype)
    extremes = [limits.min, limits.max, limits.max - 1, 0, 1, 2, 3, 4, int(g.integers(0, 100))]
    return dtype.type(extremes[g.integers(len(extremes))])


def _value(a: np.ndarray, g: Generator) -> np.ndarray:
    a.reshape(-1)[g.integers(a.size)] = odd_value(a.dtype, g)
    return a


def _values(a: np.ndarray, g: Generator) -> np.ndarray:
    flat = a.reshape(-1)
    flat[:] = [odd_value(a.dtype, g) for _ in flat]
    return a


def _nudge(a: np.ndarray, g: Generator) -> np.ndarray:
    flat, place = a.reshape(-1), g.integers(a.size)
    with np.errstate(over="ignore"):
        flat[place : place + 1] += a.dtype.type(g.choice([1, 2])) * g.choice([-1, 1]).astype(
            a.dtype
        )
    return a


def _swap(a: np.ndarray, g: Generator) -> np.ndarray:
    i, j = g.integers(len(a), size=2)
    a[[i, j]] = a[[j, i]]
    return a


def _drop(a: np.ndarray, g: Generator) -> np.ndarray:
    return np.delete(a, g.integers(len(a)), 0)


def _double(a: np.ndarray, g: Generator) -> np.ndarray:
    i = g.integers(len(a))
    return np.insert(a, i, a[i], 0)


def _retype(a: np.ndarray, g: Generator) -> np.ndarray:
    kinds = ["u1", "i1", "<u2", "<u4", ">u4", "<i4", "<i8", ">i8", "<f4", "<f8", ">f8", "?", "<f2"]
    return a.astype(str(g.choice([k for k in kinds if np.dtype(k) != a.dtype])))


def _no_number(a: np.ndarray, g: Generator) -> np.ndarray:
    a = a if a.dtype.kind == "f" else a.astype("<f8")
    a.reshape(-1)[g.integers(a.size)] = g.choice([np.nan, np.inf, -np.inf])
    return a


CHANGES: dict[str, Callable[[np.ndarray, Generator], np.ndarray]] = {
    "value": _value,
    "values": _values,
    "nudge": _nudge,
    "swap": _swap,
    "drop": _drop,
    "double": _double,
    "truncate": lambda a, g: a[: g.integers(len(a))],
    "extend": lambda a, g: np.concatenate([a, a[: 1 + g.integers(len(a))]]),
    "reverse": lambda a, g: a[::-1],
    "shuffle": lambda a, g: a[g.permutation(len(a))],
    "transpose": lambda a, g: a.T if a.ndim > 1 else a[:, None],
    "flatten": lambda a, g: a.reshape(-1) if a.ndim > 1 else a.reshape(1, -1),
    "type": _retype,
    "no number": _no_number,
}


def of_array(proof: Proof, name: str, g: Generator) -> Mutant:
    """One array changed; the hashes are those of the new one."""
    how = str(g.choice(list(CHANGES)))
    arrays = dict(proof.arrays)
    with np.errstate(all="ignore"):
        arrays[name] = CHANGES[how](arrays[name].copy(), g)
    return f"{name}: {how}", proof.bytes(arrays)


def without(proof: Proof, name: str) -> Mutant:
    """One array left out."""
    return f"{name}: none", proof.bytes({k: v for k, v in proof.arrays.items() if k != name})


def added(proof: Proof, name: str, g: Generator) -> Mutant:
    """An array that the certificate does not have, or one that no certificate has."""
    dtype, axes = MEMBERS.get(name, ("<u4", 1))
    array = np.zeros(
        (1 + g.integers(3), max(1, len(proof.arrays.get("column_atom", ()))))[:axes], dtype
    )
    return f"{name}: added", proof.bytes(proof.arrays | {name: _values(array, g)})


# --------------------------------------------------------------------------------------- manifest

WRONG: list[Any] = [
    None,
    True,
    0,
    2,
    -1,
    1.0,
    "",
    "x",
    "0" * 64,
    "F" * 64,
    [],
    {},
    [["y", 1]],
    "\u0000",
]


def of_manifest(proof: Proof, g: Generator) -> Iterator[Mutant]:
    """Each key with wrong values, left out, and a new one."""
    manifest, contents = taken_apart(proof.bytes())
    for key in manifest:
        for value in [WRONG[i] for i in g.permutation(len(WRONG))[:5]]:
            yield f"{key}: {value!a}", packed({**manifest, key: value}, contents)
        yield f"{key}: none", packed({k: v for k, v in manifest.items() if k != key}, contents)
    yield "a new key", packed({**manifest, "more": 1}, contents)
    for how, neurons in odd_neurons(manifest["neurons"]):
        yield f"neurons: {how}", packed({**manifest, "neurons": neurons}, contents)
    for name, entry in manifest["members"].items():
        for how, members in odd_members(manifest["members"], name, entry):
            yield f"members: {how}", packed({**manifest, "members": members}, contents)
    other = {"real": "float32", "float32": "real"}[manifest["semantics"]]
    yield "semantics", packed({**manifest, "semantics": other}, contents)


def odd_neurons(neurons: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Names of tensors that do not fit."""
    yield "reversed", neurons[::-1]
    yield "more", [*neurons, ["y", 2]]
    for i, (name, size) in enumerate(neurons):
        before, after = neurons[:i], neurons[i + 1 :]
        yield "fewer", before + after
        yield "twice", [*before, [name, size], [name, size], *after]
        for other in ([name, size + 1], [name, size - 1], ["x", size], ["z0", size], ["y", size]):
            yield f"other {other}", [*before, other, *after]


def odd_members(members: dict[str, Any], name: str, entry: dict[str, Any]) -> Iterator[Any]:
    """Lists of members that do not fit."""
    yield "fewer", {k: v for k, v in members.items() if k != name}
    yield "bytes", {**members, name: {**entry, "bytes": entry["bytes"] + 1}}
    yield "sha256", {**members, name: {**entry, "sha256": "0" * 64}}


def taken_apart(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest, and the other members' bytes."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        contents = {name: file.read(name) for name in file.namelist()[1:]}
    return read_container(data).manifest, contents


def packed(manifest: dict[str, Any], contents: dict[str, bytes]) -> bytes:
    """A certificate of them."""
    return archive([("manifest.json", canonical(manifest)), *contents.items()])


def of_bytes(proof: Proof, g: Generator) -> Mutant:
    """One byte changed, left out or doubled; or the end cut off."""
    data, how = proof.bytes(), str(g.choice(["flip", "flip", "flip", "drop", "double", "cut"]))
    i = int(g.integers(len(data)))
    changed = bytes([data[i] ^ int(g.integers(1, 256))])
    parts = {
        "flip": changed + data[i + 1 :],
        "drop": data[i + 1 :],
        "double": data[i : i + 1] + data[i:],
    }
    return f"byte: {how} {i}", data[:i] + parts.get(how, b"")


# ------------------------------------------------------------------------------------------- tree


def of_tree(proof: Proof, g: Generator) -> Mutant:
    """A change of the tree, with all arrays to fit."""
    roots = grow(complete(proof.arrays))
    how = str(g.choice(list(SURGERY)))
    arrays = dict(proof.arrays)
    nodes = [node for root in roots for node in root.all()]
    inner = [node for node in nodes if node.children] or nodes
    if how == "case dropped":
        k = int(g.integers(len(roots)))
        del roots[k]
        arrays["roots"] = np.delete(arrays["roots"], k)
    else:
        SURGERY[how](inner[g.integers(len(inner))], nodes[g.integers(len(nodes))], g)
    return f"tree: {how}", proof.bytes(flatten(roots, arrays))


def _drop_child(inner: Tree, other: Tree, g: Generator) -> None:
    if inner.kind == CLAUSE:
        k = int(g.integers(len(inner.children)))
        del inner.children[k], inner.clauses[k]
    elif inner.children:
        inner.become(inner.children[g.integers(2)])


def _twice(inner: Tree, other: Tree, g: Generator) -> None:
    if inner.kind == CLAUSE:
        k = int(g.integers(len(inner.children)))
        inner.children.append(inner.children[k].copy())
        inner.clauses.append(inner.clauses[k])
    elif inner.children:
        k = int(g.integers(2))
        inner.children[k] = inner.children[1 - k].copy()


def _rename(inner: Tree, other: Tree, g: Generator) -> None:
    if inner.kind == CLAUSE:
        inner.clauses[g.integers(len(inner.clauses))] = int(g.integers(4))
    else:
        inner.axis = int(g.integers(12))


def _move(inner: Tree, other: Tree, g: Generator) -> None:
    inner.point += float(g.normal()) * 10.0 ** int(g.integers(-6, 3))


def _idle(inner: Tree, other: Tree, g: Generator) -> None:
    other.actions &= ~(4 << int(g.integers(4)))


def _busy(inner: Tree, other: Tree, g: Generator) -> None:
    other.actions ^= 4 << int(g.integers(4))


def _forget(inner: Tree, other: Tree, g: Generator) -> None:
    other.rows, other.hidden = other.rows[1:], other.hidden[1:]


SURGERY: dict[str, Callable[[Tree, Tree, Generator], None]] = {
    "case dropped": lambda inner, other, g: None,
    "leaf made": lambda inner, other, g: inner.close(),
    "child dropped": _drop_child,
    "child twice": _twice,
    "children swapped": lambda inner, other, g: inner.children.reverse(),
    "renamed": _rename,
    "split moved": _move,
    "grafted": lambda inner, other, g: inner.become(_apart(other)),
    "idle": _idle,
    "busy": _busy,
    "forgotten": _forget,
}


def _apart(node: Tree) -> Tree:
    return node.copy()


def random_tree(proof: Proof, g: Generator, depth: int) -> Tree:
    """Anything that fits the arrays' shapes: splits, actions, and records of rows and neurons."""
    neurons, width = len(proof.manifest["neurons"]), len(proof.arrays.get("column_atom", ()))
    hulls = len(proof.arrays.get("hull_root", ()))
    kinds = [LEAF, INPUT, INPUT, CLAUSE] + [NEURON] * bool(width)
    node = Tree(int(g.choice(kinds)) if depth else LEAF)
    node.actions = sum(int(a) for a in (CLIP, JOINTLY, TIGHTEN, BOUND) if g.random() < 0.6)
    node.point = float(np.round(g.normal() * 2, int(g.integers(0, 4))))
    region = proof.statement.regions[0]
    node.axis = int(g.integers(width if node.kind == NEURON else len(region.lower)))
    if node.kind == NEURON:
        node.point *= float(g.random() < 0.3)
    count = {LEAF: 0, CLAUSE: len(proof.statement.clauses)}.get(node.kind, 2)
    node.clauses = list(range(count)) if node.kind == CLAUSE else []
    node.children = [random_tree(proof, g, depth - 1) for _ in range(count)]
    clause_rows = len(proof.statement.clauses[0]) + len(region.rows)
    for _ in range(g.integers(3)):
        mixed = g.random() < 0.3
        node.rows.append(
            {
                "row": np.uint32(MIX if mixed else g.integers(4)),
                "row_alpha": g.choice([0, 128, 255, int(g.integers(256))], width),
                "row_hulls": g.choice([0, 1, 64, 255], hulls),
                "row_beta": np.zeros(0, np.float32),
                "mix_row": np.arange(clause_rows if mixed else 0),
                "mix_weight": np.round(g.random(clause_rows if mixed else 0), 2),
            }
        )
    for _ in range(g.integers(3) if neurons else 0):
        atom = int(g.integers(neurons))
        before = int((proof.arrays["column_atom"] < atom).sum()) if width else 0
        parts, named = random_parts(g, before, int(g.integers(3)) if before else 0)
        record = {
            "hidden_atom": atom,
            "hidden_neuron": g.integers(4),
            "hidden_sign": g.choice([-1, 1]),
            "hidden_round": g.choice([0, 0, 1, 3]),
        }
        for length, further in parts:
            more = {
                "hidden_alpha": g.integers(0, 256, width),
                "hidden_column": named[:further],
                "hidden_beta": np.float32(g.normal(size=length) * g.choice([0, 1])),
            }
            node.hidden.append(record | more)
            named = named[further:]
    return node


def fill_betas(node: Tree, g: Generator, split: frozenset[int] = frozenset()) -> None:
    """As many numbers for each row as neurons were split above it."""
    for record in node.rows:
        record["row_beta"] = np.float32(g.normal(size=len(split)) * g.choice([0, 0.5, 3]))
    below = split | {node.axis} if node.kind == NEURON else split
    for child in node.children:
        fill_betas(child, g, below)


def random_proof(proof: Proof, g: Generator) -> Mutant:
    """A certificate that nobody wrote."""
    roots = [random_tree(proof, g, int(g.integers(4))) for _ in proof.arrays["roots"]]
    for root in roots:
        fill_betas(root, g)
    return "random", proof.bytes(flatten(roots, proof.arrays))
