"""``verifier info``: what the files hold, what is unsupported, and which search would be taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from verifier.cli.request import is_certificate, is_property
from verifier.errors import UnsupportedModel

if TYPE_CHECKING:
    from verifier.load.onnx.describe import Description
    from verifier.load.onnx.model import Model
    from verifier.spec import Cases, Declaration, Query


@click.command(short_help="Say what networks and properties hold, and what is unsupported.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def command(files: tuple[str, ...]) -> int:
    """Describe ONNX and VNN-LIB files, gzipped or not, and certificates.

    With one network and one property, also say which search would be taken.
    """
    models: list[Model] = []
    queries: list[Query] = []
    unsupported = 0
    for number, path in enumerate(files):
        if number:
            click.echo()
        if is_certificate(path):
            _show_certificate(path)
            continue
        if is_property(path):
            queries.append(_show_property(path))
            continue
        model = _show_network(path)
        unsupported += model is None
        models.extend([model] if model else [])
    if len(models) == len(queries) == 1:
        click.echo()
        _show("strategy", _strategy(models[0], queries[0]))
    return UnsupportedModel.exit_status if unsupported else 0


def _show(label: str, text: str) -> None:
    click.echo(f"{label + ':':<14}{text}")


def _show_network(path: str) -> Model | None:
    from verifier.load.onnx.describe import describe

    found = describe(path)
    _show("network", path)
    for label, text in _network_lines(found):
        _show(label, text)
    return found.model


def _network_lines(found: Description) -> Iterator[tuple[str, str]]:
    yield from (("input", port) for port in found.inputs)
    yield from (("output", port) for port in found.outputs)
    yield "opset", str(found.opset)
    yield "producer", found.producer or "not named"
    yield "parameters", f"{found.parameters:,}"
    counts = (f"{name} {count}" for name, count in found.operators.items())
    yield "operators", ", ".join(counts) or "none"
    if found.model:
        yield "neurons", f"{found.model.neurons:,}"
        yield "unsupported", "nothing"
    else:
        yield "unsupported", found.unsupported


def _show_certificate(path: str) -> None:
    from verifier.checker.container import read_certificate, read_container
    from verifier.checker.errors import Rejected, Unreadable
    from verifier.errors import BadInput

    try:
        data = read_certificate(Path(path))
        container = read_container(data)
    except Unreadable as error:
        raise BadInput(str(error)) from None
    except Rejected as error:
        message = f"{path} is no certificate: {error}"
        raise BadInput(message) from None
    manifest, arrays = container.manifest, container.arrays
    leaves = int((arrays["node"] & 3 == 0).sum()) if "node" in arrays else 0
    _show("certificate", f"{path} ({len(data):,} bytes, by {manifest['tool']})")
    _show("claims", f"semantics {manifest['semantics']}, version {manifest['version']}")
    _show("network", f"{manifest['network']} (sha256 {manifest['network_sha256']})")
    _show("property", f"{manifest['property']} (sha256 {manifest['property_sha256']})")
    _show("cases", f"{len(arrays.get('roots', ())):,}")
    _show("nodes", f"{len(arrays.get('node', ())):,}, of which {leaves:,} are leaves")
    rows, neurons = (len(arrays.get(name, ())) for name in ("row", "hidden_node"))
    _show("slopes", f"{rows:,} rows, {neurons:,} neurons")


def _show_property(path: str) -> Query:
    from verifier.load.lower import lower_query
    from verifier.load.vnnlib import read_query
    from verifier.spec import cases_of

    query = read_query(path)
    _show("property", path)
    for label, text in _property_lines(query, cases_of(lower_query(query))):
        _show(label, text)
    return query


def _property_lines(query: Query, cases: Cases) -> Iterator[tuple[str, str]]:
    yield "version", query.version
    if query.network.name:
        yield "network", query.network.name
    if query.monomials:
        yield "products", f"{len(query.monomials):,} of variables"
    yield "inputs", f"{query.n_inputs:,} ({_declared(query.network.inputs)})"
    yield "outputs", f"{query.n_outputs:,} ({_declared(query.network.outputs)})"
    empty = f"; {cases.n_empty:,} more are empty" if cases.n_empty else ""
    yield "boxes", f"{len(cases):,}{empty}"
    yield "free inputs", f"{int(cases.free.sum()):,}"
    yield (
        "clauses",
        f"{cases.rows.n_clauses:,} ways to be unsafe, of {len(cases.rows.clause):,} rows",
    )


def _declared(declarations: Sequence[Declaration]) -> str:
    return ", ".join(f"{d.name} {d.element_type} {list(d.shape)}" for d in declarations)


def _strategy(model: Model, query: Query) -> str:
    from verifier.load.fit import require_fit
    from verifier.load.lower import lower
    from verifier.search.strategy import choose
    from verifier.spec import Problem

    require_fit(query, model)
    if model.cells:
        return f"cells of {len(model.cells.inputs)} inputs that are truncated to integers"
    lowered = lower(query, model.graph)
    problem = Problem.of(lowered.graph, lowered.query, tables=True)
    if not len(problem.cases):
        return "none: every box is empty, so the verdict is unsat"
    chosen = choose(problem)
    return f"split {chosen.search}, {chosen.backend} in {chosen.dtype} ({chosen.why})"
