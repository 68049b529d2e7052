"""Write the pages of docs/reference from the program itself: parameters, extensions, commands, errors, settings, checks,
clients and what was measured of them, and what the servers say.

    python tools/reference.py [--check]

With `--check` nothing is written, and the exit code is 1 when a page is stale. What a page says stands in the catalogue, in a
command's docstring or in a refusal; it is never edited by hand. `json.md` beside them is written by people.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # which python -P leaves out
from pages import disruption, tuning
from pages.clients import clients
from pages.markdown import page, table
from pages.messages import server_messages
from pages.parameters import parameters
from pages.program import checks, commands, extensions, settings
from pages.refusals import errors

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"


def disruptions() -> str:
    """Return the page of what happens to clients, from what was measured."""
    return page(disruption.TITLE, *disruption.page(table))


PAGES: Mapping[str, Callable[[], str]] = {
    "../explanation/what-happens-to-my-clients.md": disruptions,
    "../how-to/tune-the-pooler.md": tuning.page,
    "parameters.md": parameters,
    "extensions.md": extensions,
    "commands.md": commands,
    "settings.md": settings,
    "checks.md": checks,
    "clients.md": clients,
    "errors.md": errors,
    "server-messages.md": server_messages,
    "server-messages-ru.md": partial(server_messages, "ru"),
}


def stale() -> list[str]:
    """Return the names of the pages that are not as the program is."""
    return [name for name, make in PAGES.items() if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != make()]


def main(argv: Sequence[str] | None = None) -> int:
    """Write every page, or with --check tell which ones are stale."""
    parser = argparse.ArgumentParser(description="Write docs/reference from the program itself.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when a page is stale")
    asked = parser.parse_args(argv)
    if asked.check:
        for name in (old := stale()):
            print(f"stale: docs/reference/{name}; run tools/reference.py", file=sys.stderr)
        return 1 if old else 0
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make())
    return 0


if __name__ == "__main__":
    sys.exit(main())
