"""Write the catalog's `postgresql-NN.json` from real servers' own `pg_settings`.

    python tools/dump_parameters.py [--output DIR] MAJOR=BINDIR [MAJOR=BINDIR …]

Each server is asked in single-user mode on a cluster made for the purpose and removed again, so nothing listens and nothing is left
running. Only built-in values are kept (`boot_val`), never what this machine's configuration says, and a default that is a path is
dropped. What the files hold is never edited by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

CATALOG = Path(__file__).resolve().parent.parent / "src" / "howdah" / "catalog"
COLUMNS = "name, category, short_desc, extra_desc, context, vartype, unit, min_val, max_val, enumvals, boot_val"
# Single-user mode ends a command at the newline. In COPY's text format a backslash is doubled, and JSON writes every control
# character with one, so undoing that doubling gives the JSON back exactly.
QUESTION = (
    "COPY (SELECT pg_catalog.json_build_object('server_version', pg_catalog.current_setting('server_version'), 'parameters', "
    f"pg_catalog.json_agg(pg_catalog.row_to_json(s))) FROM (SELECT {COLUMNS} FROM pg_catalog.pg_settings) AS s) TO '{{answer}}'\n"
)
SECONDS = 120


def run(command: Sequence[str | Path], given: str = "") -> None:
    """Run a server program as a user it accepts (it refuses root), in a clean environment; its messages are shown if it fails."""
    owner = "postgres" if os.geteuid() == 0 else None
    done = subprocess.run(
        [str(word) for word in command],
        input=given,
        text=True,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        user=owner,
        group=owner,
        extra_groups=[] if owner else None,
        cwd="/",
        env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},
    )
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} exited with {done.returncode}:\n{done.stdout}{done.stderr}")


def ask(bindir: Path) -> Mapping[str, object]:
    """Return one server's version and `pg_settings`, by a cluster made and removed here."""
    with tempfile.TemporaryDirectory(prefix="howdah-dump-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        cluster, answer = folder / "data", folder / "answer"
        run([bindir / "initdb", "--no-sync", "--auth=reject", "--locale=C", "--username=postgres", "-D", cluster])
        run([bindir / "postgres", "--single", "-F", "-D", cluster, "template1"], given=QUESTION.format(answer=answer))
        asked: Mapping[str, object] = json.loads(answer.read_text(encoding="utf-8").replace("\\\\", "\\"))
        return asked


def is_path(default: object) -> bool:
    """Tell whether a default names a place on the machine where the server was built: `/tmp`, `FILE:/etc/…`."""
    return isinstance(default, str) and (default.startswith("/") or ":/" in default)


def entry(row: Mapping[str, object]) -> Mapping[str, object]:
    """Return one parameter without what is null or only true of one machine."""
    return {key: value for key, value in row.items() if value is not None and not (key == "boot_val" and is_path(value))}


def written(asked: Mapping[str, object]) -> str:
    """Return the file's text: one parameter a line, by name, so that two versions of it can be compared by eye."""
    rows = asked["parameters"]
    assert isinstance(rows, list)
    lines = ",\n".join(json.dumps(entry(row), ensure_ascii=True) for row in sorted(rows, key=lambda row: str(row["name"]).lower()))
    return f'{{"server_version": {json.dumps(asked["server_version"])}, "parameters": [\n{lines}\n]}}\n'


def main(arguments: Sequence[str]) -> None:
    """Ask each named server and write its file."""
    parser = argparse.ArgumentParser(description="Write the parameter catalog from real servers.")
    parser.add_argument("--output", type=Path, default=CATALOG, metavar="DIR")
    parser.add_argument("servers", nargs="+", metavar="MAJOR=BINDIR")
    chosen = parser.parse_args(arguments)
    for server in chosen.servers:
        major, _, bindir = server.partition("=")
        asked = ask(Path(bindir).resolve())
        if str(asked["server_version"]).split(".")[0] != major:
            raise SystemExit(f"{bindir} holds PostgreSQL {asked['server_version']}, not {major}")
        target = chosen.output / f"postgresql-{int(major)}.json"
        target.write_text(written(asked), encoding="utf-8")
        print(f"{target.name}: PostgreSQL {asked['server_version']}")


if __name__ == "__main__":
    main(sys.argv[1:])
