"""Which search, on which device, in which precision: decided from the network and the property."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from verifier.certify import Certificate, Sealer
from verifier.errors import UnsupportedModel
from verifier.families import Elementwise, Nonlinear
from verifier.graph import Graph
from verifier.records import dataclass
from verifier.search.by_inputs import search_inputs
from verifier.search.context import Context, Network, Progress
from verifier.search.hunt import Hunt
from verifier.settings import BoundSettings
from verifier.spec import Problem
from verifier.tensors import (
    Backend,
    cuda_devices,
    cuda_works,
    numpy_backend,
    single_precision,
    torch_backend,
)
from verifier.verdict import Verdict, Verified, Violated

log = logging.getLogger(__name__)

FEW_INPUTS = 14
"""Up to so many free inputs, boxes are split; above, the signs of neurons."""
SOME_INPUTS, DEEP = 32, 24
"""Up to so many where there are so many times more hidden neurons."""
GPU_WORK = 100_000
"""Multiply-adds of a network from which on a GPU is used where there is one."""

ATTACK_SHARE, ATTACK_STEPS = 0.5, 100_000
"""The attack that precedes a search with little hope: its share of the time, and its steps."""

UNSEEN = "not certified: the checker reads < as <=, and so sees a point in the region"


@dataclass(frozen=True)
class Strategy:
    """What will be done, and why."""

    search: str
    """``inputs`` or ``neurons``."""
    backend: str
    dtype: str
    device: str
    why: str
    thorough: bool = False
    """Was a certificate asked for, whatever it costs?"""
    allowed: float | None = None
    """The seconds that a user gave, of which some have passed; None: all are left."""

    def make_backend(self) -> Backend:
        """The backend that was chosen."""
        if self.backend == "numpy":
            return numpy_backend(self.dtype)
        return torch_backend(self.dtype, self.device)


def choose(problem: Problem, device: str = "auto", dtype: str = "auto") -> Strategy:
    """The strategy for a problem.

    NumPy where it will do: it starts two seconds sooner than torch. Splitting inputs needs few of
    them; splitting neurons needs neurons that can be split.
    """
    graph = problem.graph
    nonlinear = [n.operator for n in graph.nodes if isinstance(n.operator, Nonlinear)]
    cut = bool(nonlinear) and all(isinstance(x, Elementwise) and not x.stepped for x in nonlinear)
    tilted = cut or any(x.tilted for x in nonlinear)
    inputs = problem.free_at_once
    at_once = f"{inputs} free inputs" + (" in a case" if len(problem.cases) > 1 else "")
    hidden = sum(graph.size(v) for v in graph.relaxed_inputs if not graph.affine_of_input[v])
    deep = inputs <= SOME_INPUTS and hidden > DEEP * inputs
    if inputs <= FEW_INPUTS or deep or not tilted:
        search, why = "inputs", at_once
    else:
        search, why = "neurons", f"{at_once}, {hidden} hidden neurons"
    if device == "cuda" or (device == "auto" and _gpu_pays(graph)):
        backend, device = "torch", "cuda"
        why += "; torch on the GPU"
    elif graph.wants_torch:
        backend, device = "torch", "cpu"
        why += "; torch for its convolutions"
    else:
        backend, device = "numpy", "cpu"
        why += "; NumPy, which starts at once"
    if dtype == "auto":
        dtype = "float64"
    return Strategy(search, backend, dtype, device, why)


def _gpu_pays(graph: Graph) -> bool:
    """Is there a GPU, and is the network large enough for it?"""
    if graph.work < GPU_WORK or cuda_devices() == 0:
        return False
    return cuda_works()


def decide(
    problem: Problem,
    network: Network,
    seconds: float,
    strategy: Strategy | None = None,
    report: Callable[[Progress], None] | None = None,
    seal: Sealer | None = None,
) -> Verdict:
    """Decide a problem within some seconds of wall time.

    With ``seal``, a proof is written down and checked before it is believed.
    """
    started = time.monotonic()
    if len(problem.cases) == 0:
        note = "no input satisfies the property's own bounds: the region is empty"
        return Verified(None, note, None if seal is None else seal(None).certificate)
    if problem.cases.strictly_empty:
        note = "no input satisfies the property's own strict bounds: the region is empty"
        return Verified(None, note, Certificate(None, note=UNSEEN))
    strategy = strategy or choose(problem)
    log.info("strategy: split %s, %s in %s (%s)", *_words(strategy))
    context = Context(
        problem,
        network,
        problem.graph.on(strategy.make_backend()),
        started + seconds,
        strategy.allowed or seconds,
        np.random.default_rng(0),
        bounds=BoundSettings(deadline=started + seconds),
        report=report,
        seal=seal,
        started=started,
        thorough=strategy.thorough,
    )
    if strategy.search == "neurons":
        from verifier.search.by_neurons import search_neurons

        return search_neurons(context)
    return _attacked_first(context) or search_inputs(context)


def _attacked_first(context: Context) -> Violated | None:
    """With many inputs, and many neurons that jump, a counterexample is likelier than a proof."""
    graph, sizes = context.graph, [0, 0]
    for node in graph.nodes:
        if isinstance(node.operator, Nonlinear):
            sizes[node.operator.stepped] += node.operator.size
    if graph.input_size <= FEW_INPUTS or 2 * sizes[1] <= sizes[0]:
        return None
    return Hunt(_single(context)).run(ATTACK_SHARE * context.left, steps=ATTACK_STEPS)


def _single(context: Context) -> Context:
    """The same in float32, where that is possible: twice the points in a time."""
    try:
        graph = context.problem.graph.on(single_precision(context.graph.xp))
        return replace(context, graph=graph)
    except UnsupportedModel:
        return context


def _words(strategy: Strategy) -> tuple[str, str, str, str]:
    return strategy.search, strategy.backend, strategy.dtype, strategy.why
