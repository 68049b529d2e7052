"""What to do next: the first concern not yet satisfied says so. Pure; no step is applied here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from howdah.core.instance import Instance, Wish
from howdah.core.observed import Observed
from howdah.core.steps import Step

Concern = Callable[[Instance, Observed], Sequence[Step]]


@dataclass(frozen=True)
class Engine:
    """How one kind of deployment converges: for each wish, the concerns in the order in which they matter."""

    name: str
    concerns: Mapping[Wish, tuple[Concern, ...]]


def next_steps(concerns: Sequence[Concern], want: Instance, seen: Observed, but: Collection[str] = ()) -> Sequence[Step]:
    """Return the steps of the first concern not yet satisfied; empty means done. Steps whose key is in `but` are given up."""
    return next((steps for concern in concerns if (steps := [step for step in concern(want, seen) if step.key not in but])), ())
