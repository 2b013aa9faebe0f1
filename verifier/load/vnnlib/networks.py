"""The networks that a 2.0 property declares."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from verifier.load.vnnlib.declarations import MAX_SIZE, words_of
from verifier.load.vnnlib.general import Word
from verifier.load.vnnlib.text import Form, Text, shown
from verifier.records import dataclass
from verifier.spec.query import Declaration, NetworkDeclaration

MAX_NETWORKS = 16

_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_SHAPE = re.compile(rb"\[\s*(?:[0-9]{1,10}\s*(?:,\s*[0-9]{1,10}\s*)*)?\]")

RELATIONS = {b"equal-to": "equal_to", b"isomorphic-to": "isomorphic_to"}

Nested = Word | list["Nested"]


def read_networks(text: Text, forms: Sequence[Form]) -> NetworkDeclaration:
    """The declared network; several as one, in which all their inputs precede all their outputs.

    Raises:
        PropertyError: a declaration is malformed, or does not fit the ones before it.
    """
    reader = NetworkReader(text)
    if len(forms) > MAX_NETWORKS:
        raise text.error(
            forms[MAX_NETWORKS].start, f"{len(forms)} networks; need at most {MAX_NETWORKS}"
        )
    networks: list[NetworkDeclaration] = []
    for form in forms:
        network = reader.read(form)
        _require_new(text, form, network, networks)
        _require_alike(text, form, network, networks)
        networks.append(network)
    if len(networks) == 1:
        return networks[0]
    return NetworkDeclaration(
        " ".join(network.name for network in networks),
        tuple(tensor for network in networks for tensor in network.inputs),
        tuple(tensor for network in networks for tensor in network.outputs),
        tuple(networks),
    )


def _names(network: NetworkDeclaration) -> list[str]:
    return [network.name, *(tensor.name for tensor in (*network.inputs, *network.outputs))]


def _require_new(
    text: Text, form: Form, network: NetworkDeclaration, known: Sequence[NetworkDeclaration]
) -> None:
    """Names are unique in the whole file; a network alone may be called as one of its tensors."""
    taken = {name for other in known for name in _names(other)}
    for name in _names(network):
        if name in taken:
            raise text.error(form.start, f"{name!r} is declared twice")


def _require_alike(
    text: Text, form: Form, network: NetworkDeclaration, known: Sequence[NetworkDeclaration]
) -> None:
    """The network that another one resembles is declared before it, and has its shapes."""
    name = network.equal_to or network.isomorphic_to
    if not name:
        return
    other = next((other for other in known if other.name == name), None)
    if other is None:
        raise text.error(form.start, f"met {name!r}; need a network that is declared before")
    if other.equal_to or other.isomorphic_to:
        raise text.error(form.start, f"{name!r} resembles another network itself; name that one")
    mine, theirs = (_kinds(one, types=bool(network.equal_to)) for one in (network, other))
    if mine != theirs:
        raise text.error(
            form.start, f"{network.name!r} has other tensors than {name!r}; need the same"
        )


def _kinds(network: NetworkDeclaration, *, types: bool) -> list[object]:
    """The shapes of all tensors, and their types where these matter."""
    return [
        [(tensor.shape, tensor.element_type if types else "") for tensor in tensors]
        for tensors in (network.inputs, network.outputs)
    ]


@dataclass(frozen=True, eq=False)
class NetworkReader:
    """Reads `(declare-network NAME (declare-input ...) ... (declare-output ...) ...)`."""

    text: Text

    def read(self, form: Form) -> NetworkDeclaration:
        """The declared network.

        Raises:
            PropertyError: it is malformed, or has parts that are not supported.
        """
        items = self._items(form)
        if len(items) < 2 or not isinstance(items[1], Word):
            raise self.text.error(form.start, "met a network without a name; need one")
        name = self._name(items[1])
        seen: set[str] = set()
        tensors: dict[bytes, list[Declaration]] = {b"declare-input": [], b"declare-output": []}
        relations = self._relations(items)
        for item in items[2 + len(relations) :]:
            head = item[0] if isinstance(item, list) and item else item
            if not isinstance(item, list) or not isinstance(head, Word):
                position = head.position if isinstance(head, Word) else form.start
                raise self.text.error(position, "met a stray word; need (declare-input ...)")
            self._require_supported(head)
            if head.text == b"declare-input" and tensors[b"declare-output"]:
                raise self.text.error(head.position, "an input after an output; need inputs first")
            declaration = self._tensor(item, head)
            if declaration.name in seen:
                raise self.text.error(head.position, f"{declaration.name!r} is declared twice")
            seen.add(declaration.name)
            tensors[head.text].append(declaration)
        size = sum(tensor.size for kind in tensors.values() for tensor in kind)
        if size > MAX_SIZE:
            raise self.text.error(form.start, f"met {size} variables; need at most {MAX_SIZE}")
        for kind, declarations in tensors.items():
            if not declarations:
                raise self.text.error(
                    form.start, f"met a network without {kind.decode()}; need one"
                )
        network = NetworkDeclaration(
            name, tuple(tensors[b"declare-input"]), tuple(tensors[b"declare-output"])
        )
        return replace(network, **relations)

    def _relations(self, items: list[Nested]) -> dict[str, str]:
        """`(equal-to NAME)` or `(isomorphic-to NAME)` right after the name."""
        item = items[2] if len(items) > 2 else None
        head = item[0] if isinstance(item, list) and item else None
        if not isinstance(item, list) or not isinstance(head, Word) or head.text not in RELATIONS:
            return {}
        other = item[1] if len(item) == 2 else None
        if not isinstance(other, Word):
            raise self.text.error(head.position, f"need ({head.text.decode()} NETWORK)")
        return {RELATIONS[head.text]: self._name(other)}

    def _require_supported(self, head: Word) -> None:
        if head.text == b"declare-hidden":
            raise self.text.error(head.position, "hidden nodes; not supported yet")
        if head.text not in {b"declare-input", b"declare-output"}:
            raise self.text.error(
                head.position, f"met {shown(head.text)}; need declare-input or declare-output"
            )

    def _items(self, form: Form) -> list[Nested]:
        stack: list[list[Nested]] = [[]]
        for word in words_of(self.text, form):
            if word.text == b"(":
                stack.append([])
            elif word.text == b")":
                done = stack.pop()
                stack[-1].append(done)
            else:
                stack[-1].append(word)
            if len(stack) > 4:
                raise self.text.error(word.position, "met a nested list; need a declaration")
        (items,) = stack[0]
        assert isinstance(items, list)
        return items

    def _name(self, word: Word) -> str:
        if not _NAME.fullmatch(word.text):
            raise self.text.error(
                word.position, f"name {shown(word.text)}; need a letter, then letters, digits or _"
            )
        return word.text.decode()

    def _tensor(self, item: list[Nested], head: Word) -> Declaration:
        """`(declare-input NAME TYPE [n,...])`, in 2.1 with `initialized` at the end."""
        words = [word for word in item if isinstance(word, Word)]
        texts = [word.text for word in words]
        if len(words) == 5 and texts[0] == b"declare-input" and texts[4] == b"initialized":
            raise self.text.error(words[4].position, "initialized inputs; not supported yet")
        if len(words) != 4 or len(words) != len(item):
            raise self.text.error(head.position, f"need ({head.text.decode()} NAME TYPE [n,...])")
        name, kind, shape = words[1:]
        if not _SHAPE.fullmatch(shape.text):
            raise self.text.error(shape.position, f"shape {shown(shape.text)}; need [n,...]")
        sizes = tuple(int(size) for size in re.findall(rb"[0-9]+", shape.text))
        declaration = Declaration(self._name(name), self._name(kind), sizes)
        if not 0 < declaration.size <= MAX_SIZE:
            raise self.text.error(
                shape.position,
                f"shape {shown(shape.text)}; need sizes from 1 and at most {MAX_SIZE} elements",
            )
        return declaration
