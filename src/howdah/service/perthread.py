"""One thing for each thread that asks, for a store belongs to the thread that opened it; made anew at times."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerThread(Generic[T]):
    """Returns a thread's own thing; after `seconds` it lets go of it, and makes another."""

    def __init__(self, make: Callable[[], T], let_go: Callable[[T], None], seconds: float = 60.0) -> None:
        self._make, self._let_go, self._seconds = make, let_go, seconds
        self._own = threading.local()

    def __call__(self) -> T:
        kept: tuple[float, T] | None = getattr(self._own, "kept", None)
        if kept is None or time.monotonic() - kept[0] > self._seconds:
            if kept is not None:
                self._let_go(kept[1])
            kept = self._own.kept = (time.monotonic(), self._make())
        return kept[1]
