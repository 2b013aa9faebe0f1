"""Does a property speak about this network: types, numbers and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Sequence

from verifier.errors import PropertyError
from verifier.load.onnx.model import Model, Port
from verifier.spec import Declaration, Query

REAL = "real"


def require_fit(query: Query, model: Model) -> None:
    """Compare what a 2.0 query declares with what the network has, tensor by tensor.

    The type ``real`` fits every type; axes of size 1 do not count. 1.0 queries declare no tensors.

    Raises:
        PropertyError: they differ.
    """
    if query.version.startswith("1"):
        return
    for kind, declared, ports in (
        ("input", query.network.inputs, model.inputs),
        ("output", query.network.outputs, model.outputs),
    ):
        _require_number(query.source, kind, declared, ports)
        for declaration, port in zip(declared, ports, strict=True):
            _require_same(query.source, kind, declaration, port)


def _require_number(
    source: str, kind: str, declared: Sequence[Declaration], ports: Sequence[Port]
) -> None:
    if len(declared) != len(ports):
        names = ", ".join(port.name for port in ports)
        message = (
            f"{source} declares {len(declared)} {kind} tensors, but the network has "
            f"{len(ports)} ({names}); declare all of them, in the network's order"
        )
        raise PropertyError(message)


def _require_same(source: str, kind: str, declaration: Declaration, port: Port) -> None:
    what = f"{source} declares the {kind} {declaration.name}"
    element = declaration.element_type.lower()
    if element not in {REAL, port.dtype.name}:
        message = (
            f"{what} as {declaration.element_type}, but the network's {port.name} is "
            f"{port.dtype.name}; declare {port.dtype.name} or real"
        )
        raise PropertyError(message)
    if _proper(declaration.shape) != _proper(port.shape):
        message = (
            f"{what} of shape {list(declaration.shape)}, but the network's {port.name} has "
            f"{list(port.shape)}; declare the network's shape"
        )
        raise PropertyError(message)


def _proper(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
