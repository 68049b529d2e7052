"""The command line: one small file per noun. Everything is read when it is needed, for a command must start at once."""

from __future__ import annotations


def main() -> int:
    """Run the command line of this process and return its exit code."""
    from howdah.cli.door import main as run

    return run()
