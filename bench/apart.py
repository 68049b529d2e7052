"""Clients in a process of their own, asked by lines of JSON: nothing that whoever watches does meanwhile reads as a stall of theirs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ANSWER_SECONDS = 60


class Apart:
    """The process; it answers each line with one."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return its answer; RuntimeError when it has ended instead."""
        assert self._child.stdin and self._child.stdout
        self._child.stdin.write(json.dumps(question) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"the clients ended with {self._child.wait(ANSWER_SECONDS)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def apart(module: str, *arguments: str) -> Iterator[Apart]:
    """Run a module of ours as such a process; it ends with the block, whatever happens."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PGPASSFILE": "/nonexistent"}
    command = [sys.executable, "-P", "-m", module, *arguments]
    child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Apart(child)
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe:
                pipe.close()
