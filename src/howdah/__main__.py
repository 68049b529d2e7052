"""The door: `python -m howdah`, the installed script and a clone's launcher come in here; it knows only where the command line is."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its code."""
    from howdah.cli import main as run

    raise SystemExit(run())


if __name__ == "__main__":
    main()
