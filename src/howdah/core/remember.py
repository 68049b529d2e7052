"""What must be remembered between two commands: the wishes, and the stories of the operations. A protocol; how it is kept is the store's.

Every wish is one generation and is never edited into another; what a server refused goes back to an earlier content as a new
generation. Passwords are never handed in here; verifiers are, inside a wish. What was asked is shown to people: its caller leaves
secrets out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from howdah.core.instance import Instance
from howdah.core.operation import Line, Operation, Outcome
from howdah.errors import Refusal
from howdah.phrase import to_record


@dataclass(frozen=True)
class Trashed:
    """An instance in the trash, and since when (seconds since the epoch)."""

    instance: Instance
    at: float


def refusal_record(refusal: Refusal) -> dict[str, Any]:
    """Return a refusal as an operation keeps it: English, for logs and JSON, and as it can be said in another language later."""
    said = {"message": to_record(refusal.message)} | ({"hint": to_record(refusal.hint)} if refusal.hint is not None else {})
    return {"code": refusal.code, "message": str(refusal.message), "hint": str(refusal.hint or ""), "said": said}


class Store(Protocol):
    """What Howdah remembers. Each method is one transaction: done as a whole, or not at all."""

    def close(self) -> None:
        """Let go of the store; every later call fails."""

    def find(self, name: str, project: str = "default") -> Instance:
        """Return the wanted record by its name, compared without case; the trash is not searched. NotFound `no_such_instance`."""
        ...

    def find_id(self, instance_id: str) -> Instance:
        """Return the wanted record by its id, in the trash or not. NotFound `no_such_instance`."""
        ...

    def instances(self, project: str = "default") -> tuple[Instance, ...]:
        """Return every instance of the project that is not in the trash, by name."""
        ...

    def everything(self) -> tuple[Instance, ...]:
        """Return every instance of every project that is not in the trash."""
        ...

    def trashed(self, project: str = "default") -> tuple[Trashed, ...]:
        """Return what is in the trash, latest first."""
        ...

    def new_id(self) -> str:
        """Return an id of 8 characters [a-z0-9] that no instance has or ever had."""
        ...

    def ports(self) -> dict[int, str]:
        """Return every port that an instance has, stopped ones included and the trash left out, with the instance's name."""
        ...

    def moved(self) -> int:
        """Return a number that is another one after anybody else has written anything."""
        ...

    def outcomes(self) -> Mapping[str, int]:
        """Return how many operations there are, by their outcome."""
        ...

    def converged_generation(self, instance_id: str) -> int:
        """Return the last generation that came true, 0 for none."""
        ...

    def accept(self, want: Instance, verb: str, actor: str, asked: Mapping[str, Any]) -> Operation:
        """Write down a wish, exactly one generation on, and open its operation (`waiting`).

        Conflict `changed_meanwhile`: somebody else wished first; `name_taken`, `port_taken`: another instance has it.
        """
        ...

    def note(self, instance: Instance, verb: str, actor: str, asked: Mapping[str, Any]) -> Operation:
        """Open an operation that wishes nothing new, such as a repair."""
        ...

    def update(self, want: Instance) -> None:
        """Correct the standing wish in place where that is not a wish: a password was shown, a restart was made."""
        ...

    def withdraw(self, want: Instance) -> Instance | None:
        """Take back a wish that was refused: the content of the newest earlier one that was not returns, as a new generation.

        None when there is no earlier one: the record is then forgotten.
        """
        ...

    def converged(self, instance: Instance) -> None:
        """Remember that this generation came true."""
        ...

    def trash(self, instance: Instance, at: float) -> None:
        """Put the instance into the trash; its name and its ports are free from now on."""
        ...

    def untrash(self, instance: Instance) -> None:
        """Take the instance back from the trash. Conflict `name_taken` when its name is another's now."""
        ...

    def forget(self, instance_id: str) -> None:
        """Drop an instance and its wishes; its operations stay."""
        ...

    def begin(self, operation: Operation) -> Operation:
        """Mark the operation `running`."""
        ...

    def tell(self, operation: Operation, line: Line) -> Operation:
        """Add a line to the operation's story."""
        ...

    def finish(self, operation: Operation, outcome: Outcome, error: Mapping[str, Any] | None = None) -> Operation:
        """Close the operation; `error` is what `refusal_record` made."""
        ...

    def adopt(self, instance: Instance, by: Operation | None = None) -> None:
        """Close as done what earlier operations left open when their process was killed: the pass that just converged finished them."""
        ...

    def operations(self, instance_id: str, limit: int = 20) -> tuple[Operation, ...]:
        """Return the newest operations, newest first; also those of an instance that is gone."""
        ...

    def operations_named(self, name: str, project: str = "default", limit: int = 20) -> tuple[Operation, ...]:
        """Return the newest operations of whatever has, or had, this name, newest first."""
        ...

    def last(self, instance_id: str) -> Operation | None:
        """Return the newest operation."""
        ...
