"""Walk down the tree: every path must end where no clause can be met any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np

from verifier.checker.affine import Affine
from verifier.checker.arithmetic import Arithmetic, Floats, Ints
from verifier.checker.bounds import Enclosure
from verifier.checker.clip import clip
from verifier.checker.errors import Rejected, require_time
from verifier.checker.hulls import Hulls
from verifier.checker.network import Network
from verifier.checker.nodes import Failure, Open
from verifier.checker.proof import CLAUSE, CLIP, HIDDEN, INPUT, JOINTLY, LEAF, NEURON, ROWS, Proof
from verifier.checker.rows import Multipliers, Rows
from verifier.checker.statement import Group
from verifier.checker.sums import Sums, recorded, single

PART_ELEMENTS = 2_000_000
"""Sums of rows are bounded in parts of so many coefficients and slopes."""
KNOWN_CASES = 16
"""Of more cases the roots' boxes are not kept."""


@dataclass(eq=False)
class Walk:
    """The checking of one group of cases."""

    network: Network
    proof: Proof
    group: Group
    arithmetic: Arithmetic
    single: bool
    deadline: float = float("inf")

    def __post_init__(self) -> None:
        network, proof = self.network, self.proof
        readers = [node for node in network.nodes if not isinstance(node.rule, Affine)]
        self.place: dict[int, slice] = {}
        stop = 0
        for value in sorted({node.inputs[0] for node in readers}):
            self.place[value] = slice(stop, stop := stop + network.sizes[value])
        self.hidden = stop if proof.does(HIDDEN) or (proof.kind == NEURON).any() else 0
        self.keeps_planes = proof.does(CLIP)
        self.slot = np.zeros(len(proof["column_atom"]), dtype=np.int64)
        """Where the neuron of each column is in ``Open.neurons``."""
        self.source = self.slot.copy()
        """Of which value the neuron of each column is."""
        for value, (columns, neurons) in proof.columns.items():
            self.source[columns] = source = network.nodes[value - 1].inputs[0]
            self.slot[columns] = self.place[source].start + neurons
        parted = proof["hidden_node"][np.diff(proof.parts.start) > 0]
        self.parted = np.isin(np.arange(proof.nodes), parted)
        """Which nodes bound neurons in parts."""
        self.hulls = Hulls(proof, network.sizes, self.arithmetic)
        self.known: dict[int, Enclosure] = {}
        """The roots of cases whose neurons are split: what rounding may do in their whole boxes."""

    def roots(self, most: int) -> Iterator[Open]:
        """The roots of the group's cases, so many at a time."""
        cases = np.arange(len(self.group.root))
        yield from (self._roots(cases[i : i + most]) for i in range(0, len(cases), most))

    def _roots(self, cases: Ints) -> Open:
        group, count, kind = self.group, len(cases), self.group.lower.dtype
        rows = len(group.clause) if self.keeps_planes else 0
        planes = np.zeros((count, rows, self.network.sizes[0] + 1), dtype=kind)
        planes[:, :, -1] = -np.inf
        neurons = np.full((count, 2, self.hidden), np.inf, dtype=kind)
        neurons[:, 0] = -np.inf
        live = np.ones((count, group.clauses, 2), dtype=bool)
        split = np.zeros((count, len(self.slot)), dtype=bool)
        root, lower, upper = (x[cases] for x in (group.root, group.lower, group.upper))
        return Open(root, cases, lower, upper, live, planes, neurons, split)

    def batch(self) -> int:
        """How many nodes to look at together."""
        each = self.network.sizes[0] * (3 + len(self.group.clause)) + 2 * self.hidden
        each += 4 * sum(self.network.sizes) + len(self.slot)
        return int(min(2048, max(4, 4_000_000 // each)))

    def look(self, state: Open) -> tuple[list[Failure], Open]:
        """What is wrong with some nodes, and their children that have something left to prove."""
        with np.errstate(all="ignore"):
            self._clip(state)
            self._bound(state)
            state = state[np.flatnonzero(np.any(state.live, (1, 2)))]
            kind = self.proof.kind[state.node]
            failures = [
                self._failure(state, i, state.live[i], "is not refuted")
                for i in np.flatnonzero(kind == LEAF).tolist()
            ]
            parts = [self._split(state[np.flatnonzero(kind == k)], k) for k in (INPUT, NEURON)]
            clauses = np.flatnonzero(kind == CLAUSE).tolist()
            parts += [self._split_clause(state[i : i + 1], failures) for i in clauses]
            return failures, Open.join(parts)

    def _clip(self, state: Open) -> None:
        actions = self.proof["node"][state.node] & (CLIP | JOINTLY)
        for wanted in (CLIP, CLIP | JOINTLY):
            some = np.flatnonzero(actions == wanted)
            if not len(some):
                continue
            part, jointly = state[some], wanted != CLIP
            # What float32 execution may still meet is all that is cut away from.
            box, live = (part.lower, part.upper), np.any(part.live, 2)
            known, number = (part.planes, self.group.clause), self.arithmetic
            state.lower[some], state.upper[some], still = clip(
                box, known, live, number, jointly=jointly, deadline=self.deadline
            )
            state.live[some] = part.live & still[:, :, None]

    def _bound(self, state: Open) -> None:
        actions = self.proof["node"][state.node] & (HIDDEN | ROWS)
        acts = (actions > 0) | (self.proof.count("row", state.node) > 0)
        some = np.flatnonzero(acts & np.any(state.live, (1, 2)))
        # Nodes of one clause take the same planes.
        number = np.any(state.live[some], 2) @ np.arange(self.group.clauses)
        some = some[np.argsort(number, kind="stable")]
        like = self._like(state[some])
        for key in np.unique(like).tolist():
            each = some[like == key]
            if key >= 0:
                part = state[each]
                self._rows(part, self._within(part, self.known[key]))
                state.live[each], state.planes[each] = part.live, part.planes
                # What the root's boxes do not refute, its own may.
                each = each[np.any(part.live, (1, 2))]
            if len(each):
                self._bound_anew(state, each)

    def _bound_anew(self, state: Open, each: Ints) -> None:
        """Bound nodes in boxes of their own."""
        part = state[each]
        enclosure = self._enclose(part, 0)
        for turn in range(1, self.proof.rounds(part.node)):
            enclosure = self._enclose(part, turn)
        if len(part) == 1 and part.node[0] < len(self.proof["roots"]) <= KNOWN_CASES:
            self.known[int(part.case[0])] = enclosure
        self.hulls.find(part.node, enclosure)
        self._rows(part, enclosure)
        for f in fields(part):
            getattr(state, f.name)[each] = getattr(part, f.name)

    def _like(self, part: Open) -> Ints:
        """Nodes alike are bounded together: in the whole box of a case; elsewhere; or alone."""
        result, inherit = np.full(len(part), -1), self.proof["node"][part.node] & HIDDEN == 0
        for case, root in list(self.known.items()):
            same = (part.lower == root.lower[0]).all(1) & (part.upper == root.upper[0]).all(1)
            result[same & inherit & (part.case == case)] = case
        return np.where(self.parted[part.node], -2 - np.arange(len(part)), result)

    def _within(self, part: Open, root: Enclosure) -> Enclosure:
        """The same for nodes that bound no neurons, in the whole box of a root.

        Its boxes, and what they lose to rounding, hold for what it was split into.
        """
        enclosure = replace(root, slack=dict(root.slack), lines={}, laden={}, carried=set())
        for side in ("lower", "upper"):
            boxes = [np.broadcast_to(x, (len(part), x.shape[1])) for x in getattr(root, side)]
            setattr(enclosure, side, boxes)
        for value in range(len(root.lower)):
            if value and not isinstance(self.network.nodes[value - 1].rule, Affine):
                enclosure.relax(value)
            self._inherit(part, enclosure, value)
        return enclosure

    def _enclose(self, part: Open, turn: int) -> Enclosure:
        """Boxes of all values, and the hidden bounds that the nodes are to pass on."""
        enclosure = Enclosure(
            self.network, self.arithmetic, self.single, [part.lower], [part.upper], self.deadline
        )
        tighten = np.flatnonzero(self.proof["node"][part.node] & HIDDEN)
        self._inherit(part, enclosure, 0)
        for node in self.network.nodes:
            require_time(self.deadline)
            value = enclosure.step()
            if not isinstance(node.rule, Affine):
                enclosure.relax(value)
            self._inherit(part, enclosure, value)
            if value in self.place and len(tighten):
                if not turn and value not in self.network.by_intervals:
                    self._tighten(enclosure, value, tighten)
                self._narrow_as_told(part, enclosure, value, turn)
                part.neurons[tighten, 0, self.place[value]] = enclosure.lower[value][tighten]
                part.neurons[tighten, 1, self.place[value]] = enclosure.upper[value][tighten]
        return enclosure

    def _inherit(self, part: Open, enclosure: Enclosure, value: int) -> None:
        """Cut a value's boxes with the inherited ones; where nothing is bounded, take those.

        Slopes and multipliers of a node are about the boxes that its ancestors left it.
        """
        if value not in self.place or not self.hidden:
            return
        known = part.neurons[:, :, self.place[value]]
        enclosure.narrow(value, known[:, 0], known[:, 1])
        taken = (self.proof["node"][part.node] & HIDDEN == 0)[:, None] & (
            abs(known).max(1) < np.inf
        )
        for boxes, side in ((enclosure.lower, 0), (enclosure.upper, 1)):
            boxes[value] = np.where(taken, known[:, side], boxes[value])

    def _tighten(self, enclosure: Enclosure, value: int, wanted: Ints) -> None:
        """Bound the neurons of a value that are not linear yet, in the nodes where it is wanted."""
        mask = np.zeros(enclosure.lower[value].shape, dtype=bool)
        mask[wanted] = enclosure.unstable(value)[wanted]
        batch, neuron = np.nonzero(mask)
        # The side that may settle a neuron comes first; the other one only where it did not.
        rising = enclosure.upper[value][batch, neuron] > -enclosure.lower[value][batch, neuron]
        sign = np.where(rising, 1, -1)
        self._narrow(enclosure, value, (batch, neuron, sign))
        left = enclosure.unstable(value)[batch, neuron]
        self._narrow(enclosure, value, (batch[left], neuron[left], -sign[left]))

    def _narrow_as_told(self, part: Open, enclosure: Enclosure, value: int, turn: int) -> None:
        """Bound the neurons for which the certificate has slopes."""
        proof, acts = self.proof, self.proof["node"][part.node] & HIDDEN > 0
        places, records = proof.entries("hidden", part.node)
        neurons = proof["hidden_neuron"][records].astype(np.int64)
        fits = (proof.hidden_value[records] == value) & (proof["hidden_round"][records] == turn)
        fits &= acts[places] & (neurons < self.network.sizes[value])
        for i in sorted(set(places[fits].tolist())):  # one by one, for want of memory
            some = fits & (places == i)
            record, signs = records[some], proof["hidden_sign"][records[some]].astype(np.int64)
            self._narrow(enclosure, value, (places[some], neurons[some], signs), record)

    def _narrow(
        self,
        enclosure: Enclosure,
        value: int,
        which: tuple[Ints, Ints, Ints],
        record: Ints | None = None,
    ) -> None:
        """Narrow boxes with the bounds of sign * neuron, with the slopes of records."""
        most, least = max(1, PART_ELEMENTS // sum(self.network.sizes)), list[Floats]()
        for start in range(0, len(which[0]), most):
            require_time(self.deadline)
            some = slice(start, start + most)
            batch, neuron, sign = (x[some] for x in which)
            rows = enclosure.unit_rows(value, batch, neuron, self.arithmetic.numbers(sign))
            told = (enclosure, rows, None)
            if record is not None:
                told = self._as_told(enclosure, rows, record[some])
            least.append(told[0].least(*told[1:]))
        if not least:
            return
        whole, (batch, neuron, sign) = np.concatenate(least), which
        if record is not None:
            first = np.flatnonzero(self.proof.parts.first[record])
            whole = np.minimum.reduceat(whole, first)
            batch, neuron, sign = batch[first], neuron[first], sign[first]
        for boxes, way in ((enclosure.lower, 1), (enclosure.upper, -1)):
            # A bound that is no number is none; the comparison says so.
            up = (sign == way) & (whole > way * boxes[value][batch, neuron])
            box = way * boxes[value]
            np.maximum.at(box, (batch[up], neuron[up]), whole[up])
            boxes[value] = way * box

    def _as_told(
        self, enclosure: Enclosure, rows: Rows, record: Ints
    ) -> tuple[Enclosure, Rows, Multipliers]:
        """Boxes for rows, cut to their parts of the region, and the multipliers of records."""
        proof, parts = self.proof, self.proof.parts
        alpha, beta, count = proof["hidden_alpha"][record], None, len(record)
        part, entry = proof.entries("part", record)
        if len(entry):
            column, upper = parts.column[entry], parts.upper[entry]
            beta = np.zeros(alpha.shape)
            beta[part, column] = proof["hidden_beta"][entry]
            sources, sides = self.source[column], list[tuple[int, Ints, Ints, Ints]]()
            for value in sorted(set(sources.tolist())):
                some = np.flatnonzero(sources == value)
                neuron = proof["column_neuron"][column[some]]
                sides.append((value, part[some], neuron, upper[some]))
            enclosure = enclosure.cut(count, sides)
            rows = replace(rows, owner=np.arange(count))
        return enclosure, rows, proof.multipliers(alpha, beta, self.arithmetic)

    def _rows(self, part: Open, enclosure: Enclosure) -> None:
        """Bound the rows of live clauses, with the slopes of the certificate where it has some."""
        clause = self.group.clause
        if not len(clause):
            return
        wanted = (self.proof["node"][part.node] & ROWS > 0)[:, None]
        wanted = wanted & np.any(part.live, 2)[:, clause]
        told = recorded(self.proof, part.node, clause, self.arithmetic)
        wanted[told.batch[told.plane], told.first[told.plane]] = False
        places, rows = np.nonzero(wanted)
        each = self.group.coefficients.shape[1] + len(self.slot) + self.hulls.width
        most = max(1, PART_ELEMENTS // each)
        for sums in (single(places, rows, self.arithmetic), told):
            for some in sums.parts(most):
                require_time(self.deadline)
                self._use(part, enclosure, some)

    def _use(self, part: Open, enclosure: Enclosure, sums: Sums) -> None:
        """Bound sums of rows: above 0, a row of the clause must be."""
        group, number, batch = self.group, self.arithmetic, sums.batch
        bounds = group.bounds[np.repeat(part.case[batch], np.diff(sums.start)), sums.row]
        start, cost = self._start(sums, enclosure)
        offset = sums.total(bounds) + number.gamma(sums.terms + 8) * sums.total(abs(bounds))
        chosen = None
        if sums.record is not None:
            beta = self._betas(part, batch, sums.record)
            alpha = self.proof["row_alpha"][sums.record]
            chosen = self.proof.multipliers(alpha, beta, number)
        rows = Rows(start, -offset - cost, batch)
        if sums.record is not None:
            roots = group.root[part.case[batch]]
            rows = self.hulls.added(rows, sums.record, roots, enclosure)
        (form, least), boxes = enclosure.bound(rows, chosen), enclosure.by_boxes(rows) > 0
        slack = number.gamma(8) * (abs(least) + form.single)
        whole, real = boxes | (least > 0), boxes | (least + form.single - slack > 0)
        clause = group.clause[sums.first]
        part.live[batch[whole], clause[whole]] = False
        part.live[batch[real], clause[real], 0] = False
        if self.keeps_planes:
            some = np.flatnonzero(sums.plane & (abs(form.constant) < np.inf))
            planes = np.concatenate([form.coefficients, form.constant[:, None]], 1)
            part.planes[batch[some], sums.first[some]] = planes[some]

    def _start(self, sums: Sums, enclosure: Enclosure) -> tuple[dict[int, Floats], Floats]:
        """Sums of rows as functions of values, and what rounding may have changed in them."""
        group, number, output = self.group, self.arithmetic, self.network.output
        coefficients, gamma = group.coefficients[sums.row], number.gamma(sums.terms + 8)
        small = number.tiny * (sums.terms + 8)
        error = sums.total(group.error[sums.row] + gamma * abs(coefficients))
        reach = [enclosure.magnitude(value)[sums.batch] for value in (0, output)]
        reach = np.concatenate(reach, 1)
        cost = 2 * ((error + small) * reach).sum(1) + small * (reach.shape[1] + 1)
        inputs, outputs = np.split(sums.total(coefficients), [self.network.sizes[0]], 1)
        if not inputs.any():
            return {output: outputs}, cost
        return {0: inputs, output: outputs + inputs if output == 0 else outputs}, cost

    def _betas(self, part: Open, batch: Ints, record: Ints) -> Ints | None:
        """beta [rows, columns]: a record lists one number for each neuron that was split."""
        split, proof = part.split[batch], self.proof
        count = split.sum(1)
        odd = np.flatnonzero(count != proof.count("beta", record))
        if len(odd):
            node = int(part.node[batch[odd[0]]])
            raise Rejected(f"node {node}: its row needs {int(count[odd[0]])} numbers in row_beta")
        if not count.any():
            return None
        beta = np.zeros(split.shape)
        beta[split] = proof["row_beta"][proof.entries("beta", record)[1]]
        return beta

    def _failure(self, state: Open, place: int, live: Ints, what: str) -> Failure:
        """Some clause of ``live`` [clauses, 2] is open where none may be."""
        node, single = int(state.node[place]), not live[:, 0].any()
        clause = int(live[:, int(single)].argmax())
        step = f"node {node}: clause {clause} {what}" + " under float32 execution" * single
        root = int(self.group.root[state.case[place]])
        return Failure(node, step, single, root, state.lower[place], state.upper[place])

    def _split(self, state: Open, kind: int) -> Open:
        """x <= p and x >= p cover everything, for any p, of an input or a value that atoms read."""
        split, every = self.proof.split[state.node], np.arange(len(state))
        axis = self.proof["split_axis"][split].astype(np.int64)
        point = self.arithmetic.numbers(self.proof["split_point"][split])
        size, what = (
            (self.network.sizes[0], "input") if kind == INPUT else (len(self.slot), "neuron")
        )
        odd = np.flatnonzero(axis >= size)
        if len(odd):
            raise Rejected(f"node {int(state.node[odd[0]])}: there is no {what} {axis[odd[0]]}")
        first = self.proof.first_child[state.node]
        below, above = (replace(state[every], node=first + i) for i in (0, 1))
        low, high, place = above.lower, below.upper, (every, axis)
        if kind == NEURON:
            low, high, place = above.neurons[:, 0], below.neurons[:, 1], (every, self.slot[axis])
            below.split[every, axis] = above.split[every, axis] = True
        high[place] = np.minimum(high[place], point)
        low[place] = np.maximum(low[place], point)
        return Open.join([below, above])

    def _split_clause(self, state: Open, failures: list[Failure]) -> Open:
        """One child for each clause that is named; no live clause may be missing."""
        node = int(state.node[0])
        which, entry = self.proof.entries("clause", state.node)
        clause = self.proof["clause"][entry].astype(np.int64)
        if (clause >= self.group.clauses).any():
            raise Rejected(f"node {node}: there are {self.group.clauses} clauses only")
        missing = state.live[0].copy()
        missing[clause] = False
        if missing.any():
            failures.append(self._failure(state, 0, missing, "has no child"))
        # Of the others there is nothing left to prove.
        some = np.flatnonzero(np.any(state.live[0, clause], 1))
        children, every = state[which[some]], np.arange(len(some))
        alone = np.zeros(children.live.shape, dtype=bool)
        alone[every, clause[some]] = children.live[every, clause[some]]
        return replace(children, node=self.proof.first_child[node] + some, live=alone)
