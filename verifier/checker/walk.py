"""Walk down the tree: every path must end where no clause can be met any more."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from verifier.checker.affine import Affine
from verifier.checker.arithmetic import Arithmetic, Floats, Ints
from verifier.checker.bounds import Enclosure, Form, Rows
from verifier.checker.clip import clip
from verifier.checker.errors import Rejected
from verifier.checker.network import Network
from verifier.checker.nodes import Failure, Open
from verifier.checker.proof import (
    CLAUSE,
    CLIP,
    HIDDEN,
    INPUT,
    JOINTLY,
    LEAF,
    MIX,
    NEURON,
    ROWS,
    Proof,
)
from verifier.checker.statement import Group


@dataclass(eq=False)
class Walk:
    """The checking of one group of cases."""

    network: Network
    proof: Proof
    group: Group
    arithmetic: Arithmetic
    single: bool

    def __post_init__(self) -> None:
        readers = [n for n in self.network.nodes if not isinstance(n.rule, Affine)]
        self.tracked = sorted({node.inputs[0] for node in readers})
        self.start: dict[int, slice] = {}
        place = 0
        for value in self.tracked:
            self.start[value] = slice(place, place + self.network.sizes[value])
            place += self.network.sizes[value]
        self.hidden = place if self.proof.does(HIDDEN) or (self.proof.kind == NEURON).any() else 0
        self.keeps_planes = self.proof.does(CLIP)
        self.slot = self._slots()
        row_node = self.proof["row_node"]
        self.recorded = np.zeros(self.proof.nodes, dtype=bool)
        self.recorded[row_node] = True

    def _slots(self) -> Ints:
        """Where the neuron of each column is in ``Open.neurons``."""
        slot = np.zeros(len(self.proof["column_atom"]), dtype=np.int64)
        for value, (columns, neurons) in self.proof.columns.items():
            (source,) = self.network.nodes[value - 1].inputs
            slot[columns] = self.start[source].start + neurons
        return slot

    def roots(self) -> Open:
        """The roots of the group's cases."""
        group, count = self.group, len(self.group.root)
        rows = len(group.clause) if self.keeps_planes else 0
        planes = np.zeros((count, rows, self.network.sizes[0] + 1), dtype=group.lower.dtype)
        planes[:, :, -1] = -np.inf
        neurons = np.zeros((count, 2, self.hidden), dtype=group.lower.dtype)
        neurons[:, 0], neurons[:, 1] = -np.inf, np.inf
        return Open(
            group.root,
            np.arange(count),
            group.lower.copy(),
            group.upper.copy(),
            np.ones((count, group.clauses, 2), dtype=bool),
            planes,
            neurons,
            np.zeros((count, len(self.proof["column_atom"])), dtype=bool),
        )

    def batch(self) -> int:
        """How many nodes to look at together."""
        each = self.network.sizes[0] * (3 + len(self.group.clause)) + 2 * self.hidden
        each += 4 * sum(self.network.sizes) + len(self.proof["column_atom"])
        return int(min(2048, max(4, 4_000_000 // each)))

    @np.errstate(all="ignore")
    def look(self, state: Open) -> tuple[list[Failure], Open]:
        """What is wrong with some nodes, and their children that have something left to prove."""
        state = self._clip(state)
        state = self._bound(state)
        failures = self._leaves(state)
        state = state[np.flatnonzero(state.live.any((1, 2)))]
        kind = self.proof.kind[state.node]
        parts = [
            self._split_input(state[np.flatnonzero(kind == INPUT)]),
            self._split_neuron(state[np.flatnonzero(kind == NEURON)]),
        ]
        for i in np.flatnonzero(kind == CLAUSE).tolist():
            found, children = self._split_clause(state[i : i + 1])
            failures += found
            parts.append(children)
        return failures, Open.join(parts)

    def _clip(self, state: Open) -> Open:
        actions = self.proof["node"][state.node]
        for jointly in (False, True):
            wanted = CLIP | JOINTLY if jointly else CLIP
            some = np.flatnonzero(actions & (CLIP | JOINTLY) == wanted)
            if not len(some):
                continue
            part = state[some]
            # What float32 execution may still meet is all that is cut away from.
            lower, upper, still = clip(
                (part.lower, part.upper),
                (part.planes[:, :, :-1], part.planes[:, :, -1]),
                self.group.clause,
                part.live.any(2),
                self.arithmetic,
                jointly=jointly,
            )
            state.lower[some], state.upper[some] = lower, upper
            state.live[some] = part.live & still[:, :, None]
        return state

    def _bound(self, state: Open) -> Open:
        actions = self.proof["node"][state.node]
        acts = (actions & (HIDDEN | ROWS) > 0) | self.recorded[state.node]
        some = np.flatnonzero(acts & state.live.any((1, 2)))
        if not len(some):
            return state
        part = state[some]
        enclosure = self._enclose(part)
        self._rows(part, enclosure)
        for name in ("live", "planes", "neurons"):
            getattr(state, name)[some] = getattr(part, name)
        return state

    def _enclose(self, part: Open) -> Enclosure:
        """Boxes of all values, and the hidden bounds that the nodes are to pass on."""
        network, number = self.network, self.arithmetic
        enclosure = Enclosure(network, number, self.single, [part.lower], [part.upper])
        tighten = np.flatnonzero(self.proof["node"][part.node] & HIDDEN)
        self._inherit(part, enclosure, 0)
        for node in network.nodes:
            value = enclosure.step()
            if not isinstance(node.rule, Affine):
                enclosure.relax(value)
            self._inherit(part, enclosure, value)
            if value in self.start and len(tighten):
                self._tighten(part, enclosure, value, tighten)
        return enclosure

    def _inherit(self, part: Open, enclosure: Enclosure, value: int) -> None:
        if value in self.start and self.hidden:
            known = part.neurons[:, :, self.start[value]]
            enclosure.narrow(value, known[:, 0], known[:, 1])

    def _tighten(self, part: Open, enclosure: Enclosure, value: int, wanted: Ints) -> None:
        """Bound the neurons of a value that are not linear yet, in the nodes where it is wanted."""
        first_layer = all(source == 0 for source in self.network.nodes[value - 1].inputs)
        if not (first_layer and isinstance(self.network.nodes[value - 1].rule, Affine)):
            unstable = enclosure.unstable(value)
            mask = np.zeros(unstable.shape, dtype=bool)
            mask[wanted] = unstable[wanted]
            batch, neuron = np.nonzero(mask)
            # The side that may settle a neuron comes first; the other one only where it did not.
            low, high = (x[value][batch, neuron] for x in (enclosure.lower, enclosure.upper))
            sign = np.where(high > -low, 1, -1)
            self._narrow(enclosure, value, (batch, neuron, sign))
            left = enclosure.unstable(value)[batch, neuron]
            self._narrow(enclosure, value, (batch[left], neuron[left], -sign[left]))
        self._narrow_as_told(part, enclosure, value)
        place = self.start[value]
        part.neurons[wanted, 0, place] = enclosure.lower[value][wanted]
        part.neurons[wanted, 1, place] = enclosure.upper[value][wanted]

    def _narrow_as_told(self, part: Open, enclosure: Enclosure, value: int) -> None:
        """Bound the neurons for which the certificate has slopes."""
        proof = self.proof
        if not len(proof["hidden_node"]):
            return
        begin = np.searchsorted(proof["hidden_node"], part.node, "left")
        end = np.searchsorted(proof["hidden_node"], part.node, "right")
        sources = np.array([self.network.nodes[v - 1].inputs[0] for v in proof.values.tolist()])
        for i in np.flatnonzero(end > begin).tolist():
            rows = np.arange(begin[i], end[i])
            rows = rows[sources[proof["hidden_atom"][rows]] == value]
            neuron = proof["hidden_neuron"][rows].astype(np.int64)
            rows = rows[neuron < self.network.sizes[value]]
            neuron = proof["hidden_neuron"][rows].astype(np.int64)
            which = np.full(len(rows), i), neuron, proof["hidden_sign"][rows].astype(np.int64)
            self._narrow(enclosure, value, which, proof["hidden_alpha"][rows])

    def _narrow(
        self,
        enclosure: Enclosure,
        value: int,
        which: tuple[Ints, Ints, Ints],
        alpha: Ints | None = None,
    ) -> None:
        """Narrow boxes with the bounds of sign * neuron."""
        batch, neuron, sign = which
        if not len(batch):
            return
        chosen = None
        if alpha is not None:
            chosen = self.proof.multipliers(alpha, None, self.arithmetic)
        rows = enclosure.unit_rows(value, batch, neuron, self.arithmetic.numbers(sign))
        _, least = enclosure.bound(rows, chosen)
        lower, upper = enclosure.lower[value].copy(), enclosure.upper[value].copy()
        # A bound that is no number is none; the comparisons say so.
        up = (sign > 0) & (least > lower[batch, neuron])
        down = (sign < 0) & (-least < upper[batch, neuron])
        lower[batch[up], neuron[up]] = least[up]
        upper[batch[down], neuron[down]] = -least[down]
        enclosure.lower[value], enclosure.upper[value] = lower, upper

    def _rows(self, part: Open, enclosure: Enclosure) -> None:
        """Bound the rows of live clauses, with the slopes of the certificate where it has some."""
        proof, group = self.proof, self.group
        wanted = (proof["node"][part.node] & ROWS > 0)[:, None] & part.live.any(2)[:, group.clause]
        begin = np.searchsorted(proof["row_node"], part.node, "left")
        end = np.searchsorted(proof["row_node"], part.node, "right")
        count = end - begin
        batch = np.repeat(np.arange(len(part)), count)
        record = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - begin, count)
        row = proof["row"][record].astype(np.int64)
        mixed, plain = row == MIX, row < len(group.clause)
        wanted[batch[plain], row[plain]] = False
        self._use(part, enclosure, np.nonzero(wanted), None)
        self._use(part, enclosure, (batch[plain], row[plain]), record[plain])
        for i in np.flatnonzero(mixed).tolist():
            self._use_mix(part, enclosure, int(batch[i]), record[i : i + 1])

    def _start(
        self, weights: Floats, batch: Ints, enclosure: Enclosure
    ) -> tuple[dict[int, Floats], Floats]:
        """Combinations of the rows, weights [combinations, rows], as functions of values.

        And what rounding their coefficients may have changed.
        """
        group, number = self.group, self.arithmetic
        output = self.network.output
        start = {output: weights @ group.outputs}
        error = abs(weights) @ group.error[0]
        terms = number.gamma(weights.shape[1] + 8)
        error = error + terms * (abs(weights) @ abs(group.outputs))
        inputs = weights @ group.inputs
        more = abs(weights) @ group.error[1] + terms * (abs(weights) @ abs(group.inputs))
        cost = (error * enclosure.magnitude(output)[batch]).sum(1)
        cost = cost + (more * enclosure.magnitude(0)[batch]).sum(1)
        if inputs.any():
            start[0] = start[0] + inputs if output == 0 else inputs
        return start, 2 * cost

    def _use(
        self,
        part: Open,
        enclosure: Enclosure,
        which: tuple[Ints, Ints],
        record: Ints | None,
    ) -> None:
        """Bound rows, one by one, and note which clauses that refutes."""
        batch, row = which
        if not len(batch):
            return
        weights = self.arithmetic.zeros(len(batch), len(self.group.clause))
        weights[np.arange(len(batch)), row] = self.arithmetic.numbers(np.ones(len(batch)))
        form, least, single = self._combine(part, enclosure, (batch, weights), record)
        self._refute(part, batch, self.group.clause[row], (least, single))
        if self.keeps_planes:
            known = abs(form.constant) < np.inf
            part.planes[batch, row, :-1] = np.where(known[:, None], form.coefficients, 0)
            part.planes[batch, row, -1] = np.where(known, form.constant, -np.inf)

    def _use_mix(self, part: Open, enclosure: Enclosure, batch: int, record: Ints) -> None:
        """Bound a sum of rows of one clause with weights >= 0: above 0, one row must be."""
        proof, group = self.proof, self.group
        mix = int((proof["row"][: record[0]] == MIX).sum())
        part_of = slice(int(proof.mix_start[mix]), int(proof.mix_start[mix + 1]))
        row, weight = proof["mix_row"][part_of].astype(np.int64), proof["mix_weight"][part_of]
        if not len(row) or row.max() >= len(group.clause):
            return
        clause = np.unique(group.clause[row])
        if len(clause) > 1 or len(np.unique(row)) < len(row):
            return
        weights = self.arithmetic.zeros(1, len(group.clause))
        weights[0, row] = self.arithmetic.numbers(weight)
        which = np.array([batch])
        _, least, single = self._combine(part, enclosure, (which, weights), record)
        self._refute(part, which, clause, (least, single))

    def _combine(
        self,
        part: Open,
        enclosure: Enclosure,
        which: tuple[Ints, Floats],
        record: Ints | None,
    ) -> tuple[Form, Floats, Floats]:
        batch, weights = which
        number = self.arithmetic
        start, cost = self._start(weights, batch, enclosure)
        offset = (weights * self.group.bounds[part.case[batch]]).sum(1)
        scale = (weights * abs(self.group.bounds[part.case[batch]])).sum(1)
        offset = offset + number.gamma(weights.shape[1] + 8) * scale
        chosen = None
        if record is not None:
            chosen = self.proof.multipliers(
                self.proof["row_alpha"][record], self._betas(part, batch, record), number
            )
        rows = Rows(start, -offset - cost, batch, 0 * offset)
        form, least = enclosure.bound(rows, chosen)
        return form, least, form.single

    def _betas(self, part: Open, batch: Ints, record: Ints) -> Ints | None:
        """beta [rows, columns]: a record lists one number for each neuron that was split."""
        split = part.split[batch]
        count = split.sum(1)
        odd = np.flatnonzero(count != self.proof["beta_count"][record])
        if len(odd):
            node = int(part.node[batch[odd[0]]])
            raise Rejected(f"node {node}: its row needs {int(count[odd[0]])} numbers in row_beta")
        if not count.any():
            return None
        start = self.proof.beta_start[record]
        place = np.arange(count.sum()) + np.repeat(start - np.cumsum(count) + count, count)
        beta = np.zeros(split.shape)
        beta[split] = self.proof["row_beta"][place]
        return beta

    def _refute(
        self,
        part: Open,
        batch: Ints,
        clause: Ints,
        found: tuple[Floats, Floats],
    ) -> None:
        least, single = found
        slack = 8 * self.arithmetic.unit * (abs(least) + single)
        whole, real = least > 0, least + single - slack > 0
        part.live[batch[whole], clause[whole]] = False
        part.live[batch[real], clause[real], 0] = False

    def _leaves(self, state: Open) -> list[Failure]:
        """The leaves where something is left to prove."""
        left = (self.proof.kind[state.node] == LEAF) & state.live.any((1, 2))
        failures = []
        for i in np.flatnonzero(left).tolist():
            node, live = int(state.node[i]), state.live[i]
            real = not live[:, 0].any()
            clause = int(live[:, 1 if real else 0].argmax())
            what = "under float32 execution " if real else ""
            step = f"leaf {node}: clause {clause} is not refuted {what}on its box"
            failures.append(self._failure(state, i, step, real))
        return failures

    def _failure(self, state: Open, place: int, step: str, single: bool) -> Failure:
        root = int(self.group.root[state.case[place]])
        lower, upper = state.lower[place], state.upper[place]
        return Failure(int(state.node[place]), step, single, root, lower, upper)

    def _split(self, state: Open) -> tuple[Ints, Floats]:
        split = self.proof.split[state.node]
        point = self.arithmetic.numbers(self.proof["split_point"][split])
        return self.proof["split_axis"][split].astype(np.int64), point

    def _children(self, state: Open) -> tuple[Open, Open]:
        """Two copies of each node, with the numbers of its children."""
        first = self.proof.first_child[state.node]
        every = np.arange(len(state))
        return replace(state[every], node=first), replace(state[every], node=first + 1)

    def _split_input(self, state: Open) -> Open:
        """x_i <= p and x_i >= p cover everything, whatever p is."""
        axis, point = self._split(state)
        odd = np.flatnonzero(axis >= self.network.sizes[0])
        if len(odd):
            raise Rejected(f"node {int(state.node[odd[0]])}: there is no input {axis[odd[0]]}")
        below, above = self._children(state)
        place = np.arange(len(state)), axis
        below.upper[place] = np.minimum(below.upper[place], point)
        above.lower[place] = np.maximum(above.lower[place], point)
        return Open.join([below, above])

    def _split_neuron(self, state: Open) -> Open:
        """The same for a value that an atom reads."""
        axis, point = self._split(state)
        odd = np.flatnonzero(axis >= len(self.slot))
        if len(odd):
            raise Rejected(f"node {int(state.node[odd[0]])}: there is no neuron {axis[odd[0]]}")
        below, above = self._children(state)
        batch, slot = np.arange(len(state)), self.slot[axis]
        below.neurons[batch, 1, slot] = np.minimum(below.neurons[batch, 1, slot], point)
        above.neurons[batch, 0, slot] = np.maximum(above.neurons[batch, 0, slot], point)
        below.split[batch, axis], above.split[batch, axis] = True, True
        return Open.join([below, above])

    def _split_clause(self, state: Open) -> tuple[list[Failure], Open]:
        """One child for each clause that is named; no live clause may be missing."""
        node = int(state.node[0])
        start, stop = self.proof.clause_start[node], self.proof.clause_start[node + 1]
        clause = self.proof["clause"][start:stop].astype(np.int64)
        if (clause >= self.group.clauses).any():
            raise Rejected(f"node {node}: there are {self.group.clauses} clauses only")
        missing = state.live[0].copy()
        missing[clause] = False
        failures = []
        if missing.any():
            real = not missing[:, 0].any()
            step = f"node {node}: clause {int(missing.any(1).argmax())} has no child"
            failures.append(self._failure(state, 0, step, real))
        children = state[np.zeros(len(clause), dtype=np.int64)]
        alone = np.zeros(children.live.shape, dtype=bool)
        every = np.arange(len(clause))
        alone[every, clause] = children.live[every, clause]
        number = self.proof.first_child[node] + every
        return failures, replace(children, node=number, live=alone)
