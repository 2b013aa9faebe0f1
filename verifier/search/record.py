"""Write what bounds hidden neurons of a case into the proof tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from verifier.bounds import Enclosure
from verifier.bounds.optimise import TILT_STEPS
from verifier.certify import Parts, Tightened, Tilts
from verifier.families import Elementwise
from verifier.graph import Graph
from verifier.search.sign_patterns import Neurons, passing_neurons
from verifier.tensors import Array


class HiddenRecorder:
    """Is told which rows made the box of a value smaller."""

    def __init__(
        self,
        graph: Graph,
        where: tuple[int, int],
        neurons: Mapping[int, np.ndarray],
        tell: Callable[[Tightened], object],
    ) -> None:
        """``where``: node and turn. ``neurons``: of each nonlinear node, those that have slopes."""
        self.graph, self.neurons, self.tell = graph, neurons, tell
        self.node, self.turn = where

    def __call__(
        self,
        enclosure: Enclosure,
        value: int,
        which: tuple[Array, Array],
        tilts: Mapping[int, Array],
    ) -> None:
        """Slopes of rows over what is known of the values before, for (neuron, sign)."""
        xp, atom = self.graph.xp, self._atom(value)
        if atom is None:
            return
        before = {v: index for v, index in self.neurons.items() if v in tilts}
        chosen = Tilts.of(tilts, before, which[0].shape[0], xp)
        chosen = replace(chosen, passing=passing_neurons(enclosure))
        neuron, sign = xp.numpy(which[0]), np.sign(xp.numpy(which[1])).astype(np.int8)
        self.tell(Tightened(self.node, atom, neuron, sign, chosen, turn=self.turn))

    def in_parts(
        self,
        enclosure: Enclosure,
        value: int,
        which: tuple[Array, Array],
        layers: Sequence[Neurons],
        parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        """Slopes and multipliers of parts of rows, for (neuron, sign).

        ``parts``: the row of each, and its signs and tilts of the layers' neurons.
        """
        xp, atom = self.graph.xp, self._atom(value)
        if atom is None:
            return
        row, phase, tilt = parts
        columns = [(v.value << 32) + xp.numpy(v.index).astype(np.int64) for v in layers]
        column = np.concatenate(columns)
        beta = np.where(phase != 0, -phase * tilt, 0).astype(np.float32)
        order, made = Parts.of(row, phase, column, beta)
        row, phase, tilt = row[order], phase[order], tilt[order]
        alpha = np.rint(np.clip(tilt, 0, 1) * TILT_STEPS).astype(np.uint8)
        # What is said of a neuron is the slope of its lower line: known where it is split.
        alpha[phase > 0], alpha[phase < 0] = TILT_STEPS, 0
        neuron, sign = xp.numpy(which[0])[row], np.sign(xp.numpy(which[1])).astype(np.int8)[row]
        chosen = Tilts(column, alpha, passing_neurons(enclosure))
        self.tell(Tightened(self.node, atom, neuron, sign, chosen, made, self.turn))

    def _atom(self, value: int) -> int | None:
        """Who reads the value; those that only products or maxima read have no slopes."""
        graph = self.graph
        readers = (v for v in graph.nonlinear if graph.node(v).inputs == (value,))
        return next((v for v in readers if isinstance(graph.node(v).operator, Elementwise)), None)
