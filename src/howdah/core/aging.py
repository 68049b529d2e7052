"""A server that is older than its program on disk: an upgrade replaces files, and who runs already goes on with the old ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from howdah.phrase import Phrase, say

_TITLES = {"postgresql": "PostgreSQL", "pgbouncer": "PgBouncer"}


@dataclass(frozen=True)
class Older:
    """One server that runs on what is no longer installed: its version, the installed one, and the files in use that are gone."""

    name: Literal["postgresql", "pgbouncer"]
    running: str
    installed: str
    files: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The program as people call it."""
        return _TITLES[self.name]

    @property
    def words(self) -> Phrase:
        """What is older."""
        if self.running != self.installed:
            said = {"running": self.running, "installed": self.installed}
            return say("{program} {running} runs, {installed} is installed", program=self.title, **said)
        return say("an update has replaced what {program} still uses: {files}", program=self.title, files=", ".join(self.files))

    def cure(self, instance: str) -> str:
        """Return the command that brings the new one in: a restart; for PgBouncer a new one that takes over, and no client is dropped."""
        return f"howdah {'restart' if self.name == 'postgresql' else 'repair'} {instance}"
