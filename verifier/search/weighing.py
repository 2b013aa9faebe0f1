"""Which efforts of a search over inputs pay: found out as it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from verifier.records import dataclass
from verifier.search.enclose import MANY_NEURONS, Efforts, pay
from verifier.search.input_problem import InputProblem
from verifier.search.input_split import Round

WORTH_BISECTIONS = 0.4
"""Joint clipping goes on while it saves each box so many bisections: as much as it costs."""
WORTH_CLOSED = 0.15
"""Slopes are optimised while that closes such a share of the open boxes."""
TRIAL_ROUNDS = 8
"""After so many rounds an effort that did not pay is tried again."""
PLAIN_BOXES = 512
"""So many boxes are tried before rows for the planes of products, which no certificate records."""


@dataclass(eq=False)
class Weighing:
    """What the efforts of the rounds so far were worth."""

    efforts: Efforts = field(
        default_factory=lambda: Efforts(jointly=True, sharpen=True, forward=True, trial=True)
    )
    """Those of the next round."""
    rounds: int = 0
    clipping: float = 0.0
    """Bisections that joint clipping saves each box, lately."""
    sharpening: float = 0.0
    """The share of open boxes that optimised slopes close, lately."""
    spared: int = 0
    """Multiply-adds of rows of hidden neurons, at most, that the checker would need and the search
    did not."""
    products: bool = False
    """Do rows draw the planes of products closer together?"""
    hidden: bool = True
    """Are hidden neurons bounded by rows, or by forward bounds only?"""

    def weigh(
        self,
        problem: InputProblem,
        results: Sequence[Round],
        boxes: int,
        *,
        extended: bool,
        certified: bool,
    ) -> None:
        """Go on with efforts that are worth their time, and try the others again now and then.

        After so many boxes; is a proof extended to float32 execution, and must it be certified?
        """
        self.rounds += 1
        if self.efforts.jointly:
            gained = sum(result.gained for result in results) / len(results)
            self.clipping = (self.clipping + gained) / 2
        before = sum(result.sharpened[0] for result in results)
        if self.efforts.sharpen and before:
            share = sum(result.sharpened[1] for result in results) / before
            self.sharpening = (self.sharpening + share) / 2
        pays = pay([result.worth for result in results])
        if not self.efforts.trial or pays is None:
            self.hidden = self.hidden or extended
        else:
            self.hidden = pays
        if self.efforts.try_products and pays:
            self.products = True
        self.spared += sum(result.spared for result in results) * problem.graph.work
        many = problem.hidden_neurons > MANY_NEURONS
        again = self.rounds & (self.rounds + 1) == 0
        try_rows = many and again
        late = boxes > PLAIN_BOXES and problem.products and not (many or certified)
        trial = self.rounds % TRIAL_ROUNDS == 0
        self.efforts = Efforts(
            jointly=trial or self.clipping > WORTH_BISECTIONS,
            sharpen=trial or self.sharpening > WORTH_CLOSED,
            hidden=self.hidden or try_rows,
            trial=try_rows,
            forward=False,
            correlate=self.products,
            try_products=again and late and not self.products,
        )
