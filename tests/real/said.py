"""How a command ended, and what it said."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """Exit code and both streams of one command."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The line that tells what cannot be done; there is exactly one, and never a traceback."""
        assert "Traceback" not in self.out + self.err, self.err
        assert "of howdah itself" not in self.err, self.err
        [line] = [each for each in self.err.splitlines() if each.startswith("error: ")]
        assert line.startswith("error: cannot ") or "refuses this" in line, line
        return line

    @property
    def cure(self) -> str:
        """What that line says to do, which it has to."""
        _, semicolon, cure = self.line.partition("; ")
        assert semicolon, self.line
        return cure
