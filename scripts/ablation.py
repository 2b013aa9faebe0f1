#!/usr/bin/env python3
"""What each part of the search is worth: solve instances with one part switched off at a time.

    scripts/ablation.py NET.onnx PROP.vnnlib [NET PROP ...] [--timeout S] [--only PART ...]

A process for each run. Printed are verdicts and CPU seconds, of which about one is the start, and
at last each part's geometric mean of (without / with) over the instances that both decide, and how
many are not decided without it. No proof depends on a switch: all of them only leave something out.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

GRACE = 30


@dataclass(frozen=True)
class Switch:
    """What is set to leave a part out: names of attributes, and what becomes of their values."""

    search: str
    """Of which search it is a part: ``neurons``, ``inputs``, or ``both``."""
    changes: tuple[tuple[str, Callable[[Any], Any]], ...]


def _to(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def _nothing(_: Any) -> Any:
    """A function that finds nothing."""
    return staticmethod(lambda *_, **__: None)


def _flat(real: Callable[..., Any]) -> Callable[..., Any]:
    """Scores that say nothing: the longest edge decides."""
    return lambda *given: real(*given) * 0


def _unclipped(real: Callable[..., Any]) -> Callable[..., Any]:
    """Boxes stay what they are."""
    return lambda self, **_: real(self, jointly=False) * 0


def _with(**changes: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return lambda real: partial(real, **changes)


INFINITE = float("inf")
BOUNDS = "verifier.search.strategy.BoundSettings"
SPLIT, PROBLEM = (f"verifier.search.{name}" for name in ("input_split", "input_problem"))
PLAIN = "verifier.search.weighing.PLAIN_BOXES"
SWITCHES = {
    "slopes of hidden neurons' rows": Switch("neurons", ((BOUNDS, _with(hidden_steps=1)),)),
    "slopes and multipliers of subproblems": Switch("neurons", ((BOUNDS, _with(split_steps=1)),)),
    "planes of hulls": Switch("neurons", (("verifier.search.hulling.STEPS", _to(0)),)),
    "pairs": Switch("neurons", (("verifier.search.pairing.paired", _nothing),)),
    "deeper bounds of hidden neurons": Switch(
        "neurons", (("verifier.search.deep.PARTS", _to(())),)
    ),
    "boxes within subproblems": Switch("neurons", (("verifier.search.race.UNTIL", _to(INFINITE)),)),
    "passing by zeros": Switch("neurons", (("verifier.bounds.bands.WORTH", _to(INFINITE)),)),
    "products of 8 bits": Switch(
        "neurons",
        tuple((f"verifier.bounds.bands.{n}", _to(INFINITE)) for n in ("LONG", "LONG_IN_TORCH")),
    ),
    "propagated signs": Switch("neurons", (("verifier.search.propagate.Propagator.of", _nothing),)),
    "the fringe": Switch("neurons", (("verifier.search.fringe.Fringe.of", _nothing),)),
    "clipping": Switch("inputs", ((f"{PROBLEM}.InputProblem.clipping", _unclipped),)),
    "joint clipping": Switch(
        "inputs",
        ((f"{PROBLEM}.JOINT_INPUTS", _to(0)), ("verifier.search.clip.JOINT_INPUTS", _to(0))),
    ),
    "slopes of boxes' rows": Switch("inputs", ((BOUNDS, _with(box_steps=1)),)),
    "planes from how factors move": Switch("inputs", ((PLAIN, _to(INFINITE)),)),
    "gap-smear": Switch("inputs", ((f"{SPLIT}.gap_smear", _flat),)),
    "boxes closed by their neurons": Switch(
        "inputs", (("verifier.search.by_inputs.DEAR", _to(INFINITE)),)
    ),
    "the attack": Switch("both", (("verifier.search.hunt.Hunt.run", _nothing),)),
}


def leave_out(switch: Switch) -> None:
    """Set a switch in this process."""
    import pkgutil

    for name, change in switch.changes:
        path, attribute = name.rsplit(".", 1)
        owner = pkgutil.resolve_name(path)
        setattr(owner, attribute, change(getattr(owner, attribute)))


def one(files: tuple[str, str], timeout: float, part: str) -> None:
    """A run in this process; its result as JSON."""
    from verifier import verify
    from verifier.search import by_neurons, strategy

    if part:
        leave_out(SWITCHES[part])
    searches = set[str]()
    for module, name in ((strategy, "inputs"), (by_neurons, "neurons")):
        real = getattr(module, f"search_{name}")

        def noted(*given: Any, real: Any = real, name: str = name) -> Any:
            searches.add(name)
            return real(*given)

        setattr(module, f"search_{name}", noted)
    verdict = type(verify(*files, timeout=timeout).verdict).__name__.lower()
    used = resource.getrusage(resource.RUSAGE_SELF)
    row = {"verdict": verdict, "cpu": used.ru_utime + used.ru_stime, "searches": sorted(searches)}
    print(json.dumps(row))


def run(files: tuple[str, str], timeout: float, part: str) -> dict[str, Any]:
    """A run in a process of its own."""
    command = [sys.executable, __file__, "--one", part, "--timeout", str(timeout), *files]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout + GRACE, check=True)
    except subprocess.TimeoutExpired:
        return {"verdict": "killed", "cpu": math.nan, "searches": []}
    except subprocess.CalledProcessError as error:
        why = error.stderr.decode(errors="replace").strip().split("\n")[-1]
        return {"verdict": f"error: {why}", "cpu": math.nan, "searches": []}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """A table, a line for each run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--only", action="append", choices=SWITCHES, default=[])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if len(given.files) % 2:
        parser.error("a network and a property for each instance: that is an odd number of files")
    pairs = list(zip(given.files[::2], given.files[1::2], strict=True))
    if given.one is not None:
        one(pairs[0], given.timeout, given.one)
        return
    ratios: dict[str, list[float]] = {part: [] for part in given.only or SWITCHES}
    lost = dict.fromkeys(ratios, 0)
    for files in pairs:
        whole = run(files, given.timeout, "")
        decided = whole["verdict"] in ("verified", "violated")
        name = " ".join(Path(f).name for f in files)
        print(f"{name}: {whole['verdict']}, {whole['cpu']:.1f} s", flush=True)
        for part, found in ratios.items():
            if SWITCHES[part].search not in ("both", *whole["searches"]):
                continue
            without = run(files, given.timeout, part)
            if decided and without["verdict"] == whole["verdict"]:
                found.append(without["cpu"] / whole["cpu"])
            else:
                lost[part] += decided
            print(f"  without {part}: {without['verdict']}, {without['cpu']:.1f} s", flush=True)
    for (part, found), missing in zip(ratios.items(), lost.values(), strict=True):
        mean = math.exp(sum(map(math.log, found)) / max(1, len(found)))
        print(f"without {part}: {mean:.2f} times as long ({len(found)}), lost: {missing}")


if __name__ == "__main__":
    main()
