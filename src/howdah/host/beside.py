"""A look that begins in a thread of its own before it is asked for: most of its time it waits for a server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Beside(Generic[T]):
    """One look, made once at most; not by concurrent.futures, whose import takes as long as the look."""

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._thread: threading.Thread | None = None
        self._seen: list[T] = []
        self._failed: list[BaseException] = []

    def begin(self) -> Beside[T]:
        """Begin to look, if nobody has yet, and return at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)  # nobody waits for what nobody asks for
            self._thread.start()
        return self

    def result(self) -> T:
        """Return what was seen, or raise what the look raised; it begins now where it has not begun."""
        thread = self.begin()._thread
        assert thread is not None
        thread.join()
        if self._failed:
            raise self._failed[0]
        return self._seen[0]

    def _run(self) -> None:
        try:
            self._seen.append(self._look())
        except BaseException as error:  # noqa: BLE001 it is raised where the result is asked for
            self._failed.append(error)
