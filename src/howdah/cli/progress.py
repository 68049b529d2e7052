"""What is being done right now, for people: on a terminal one line with the time that has passed, elsewhere a line for each slow step.

Nothing is shown of what takes less than a second. It writes to one stream only, and never fails the work that it tells of.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TextIO

from howdah.phrase import Phrase, say

SLOW_SECONDS = 1.0
_FRAME_SECONDS = 0.1
_FRAMES = "|/-\\"


class Progress:
    """A line that tells of the current step; silent when `stream` is None."""

    def __init__(self, stream: TextIO | None, text: Callable[[Phrase], str]) -> None:
        self._stream = stream
        self._text = text
        self._lock = threading.Lock()
        self._step: str | None = None
        self._began = self._since = 0.0
        self._told = self._drawn = False
        self._thread: threading.Thread | None = None

    def tell(self, step: Phrase) -> None:
        """Begin a step."""
        if self._stream is None:
            return
        with self._lock:
            now = monotonic()
            self._began = self._began if self._step is not None else now
            self._step, self._since, self._told = self._text(step), now, False
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the step, and take the line away."""
        with self._lock:
            self._step = None
            self._clear()

    def _run(self) -> None:
        frame = 0
        while True:
            with self._lock:
                if self._step is not None:
                    self._show(frame)
            frame += 1
            threading.Event().wait(_FRAME_SECONDS)

    def _show(self, frame: int) -> None:
        assert self._stream is not None and self._step is not None
        now = monotonic()
        if self._stream.isatty():
            if now - self._began >= SLOW_SECONDS:
                self._draw(f"{_FRAMES[frame % len(_FRAMES)]} {self._step} ", now - self._began)
        elif not self._told and now - self._since >= SLOW_SECONDS:
            self._told = True
            self._write(f"{self._step} …\n")

    def _draw(self, step: str, seconds: float) -> None:
        import shutil

        elapsed = self._text(say("{seconds} s", seconds=f"{seconds:.0f}"))
        room = max(10, shutil.get_terminal_size().columns - len(elapsed) - 1)
        self._drawn = True
        self._write("\r\x1b[K" + "".join(c if c.isprintable() else " " for c in step)[:room] + elapsed)

    def _clear(self) -> None:
        if self._drawn:
            self._drawn = False
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            assert self._stream is not None
            self._stream.write(text)
            self._stream.flush()
