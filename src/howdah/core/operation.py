"""An operation: a request by a person and its story, for people. It never drives the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from howdah.phrase import Phrase, say

Outcome = Literal["waiting", "running", "done", "failed", "withdrawn"]
Applied = Literal["restart", "takeover", "reload", "sql", "nothing"]
Status = Literal["creating", "running", "updating", "stopped", "down", "error", "deleting"]

# by the names of steps; all others are statements and files, which nobody waits for
_APPLIED: Final[Mapping[str, Applied]] = {
    **dict.fromkeys(("RestartServer", "StartServer", "StopServer"), "restart"),
    **dict.fromkeys(("StartPooler", "BeginPooler", "RetirePooler"), "takeover"),
    **dict.fromkeys(("ReloadServer", "ChangePooler", "ReloadPooler"), "reload"),
}


@dataclass(frozen=True)
class Line:
    """One act within an operation: what was done, why, how long it took, and what it cost clients (milliseconds)."""

    step: str  # the step's stable name
    what: Phrase
    why: Phrase
    milliseconds: float
    stall: float | None = None  # the longest wait of a new login meanwhile; None where nobody was served that could wait
    ended: int = 0  # sessions of clients that it ended

    @property
    def headline(self) -> Phrase:
        """What was done and why, in one line."""
        return headline(self.what, self.why)


def headline(what: Phrase, why: Phrase) -> Phrase:
    """Return an act and its reason as one sentence."""
    return say("{what}: {why}", what=what, why=why)


@dataclass(frozen=True)
class Operation:
    """Who asked, for which generation, what was done, how long it took (seconds since the epoch), why it failed."""

    id: int
    instance_id: str
    generation: int
    verb: str
    actor: str
    asked: Mapping[str, Any] = field(default_factory=dict)  # never a password or verifier
    outcome: Outcome = "waiting"
    started: float = 0.0
    finished: float = 0.0
    story: tuple[Line, ...] = ()
    error: Mapping[str, Any] = field(default_factory=dict)  # {code, message, hint} of what stopped it

    @property
    def applied(self) -> Applied:
        """How it came into force: by the weightiest of its acts."""
        acts = {_APPLIED.get(line.step, "sql") for line in self.story}
        return next((how for how in get_args(Applied) if how in acts), "nothing")

    @property
    def stall(self) -> float | None:
        """The longest wait of a new login meanwhile, in milliseconds; None where it was not felt."""
        return max((line.stall for line in self.story if line.stall is not None), default=None)

    @property
    def ended(self) -> int:
        """How many sessions of clients it ended."""
        return sum(line.ended for line in self.story)


def status(wish: str, *, alive: bool, pooler_alive: bool, last: Operation | None, converged: int, busy: bool) -> Status:
    """Return what to call an instance: from its wish, a quick look, its last operation, the last generation that converged.

    `busy` is whether somebody holds its lease: an operation that was begun and that nobody works on was killed.

    >>> status("running", alive=True, pooler_alive=True, last=None, converged=3, busy=False)
    'running'
    >>> status("running", alive=False, pooler_alive=False, last=None, converged=3, busy=False)
    'down'
    """
    at_work = last is not None and (last.outcome == "waiting" or (last.outcome == "running" and busy))
    if wish == "deleted":
        return "deleting"
    if at_work:
        return "creating" if converged == 0 else "updating"
    stopped_short = last is not None and last.outcome in ("failed", "running")
    if stopped_short and (converged == 0 or not alive):
        return "error"
    if wish == "stopped":
        return "stopped"
    return "running" if alive and pooler_alive else "down"
