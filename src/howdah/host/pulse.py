"""How an instance feels to a new client while something is done to it: a login begun again and again, as far as the server's question.

To ask for a proof, the pooler has to look the user up in PostgreSQL: so each beat goes through both hops, without a password and without
a login. A pause, a restart, a queue show as a beat that takes long; a refusal as one that must be made again. Nobody is judged here.

A beat must harm nobody: PgBouncer refuses whoever comes after a client for whom it found no server (check_fast_fail, objects.c). So none
begins where PostgreSQL does not serve, and none is left waiting behind a PAUSE of ours, whose guard may have to resume too early.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from howdah import wire
from howdah.core.instance import Hop, Instance
from howdah.host import outside

_BETWEEN_SECONDS = 0.02
_AGAIN_SECONDS = 0.01
_BEAT_SECONDS = 10.0
_FIRST_SECONDS = 0.5
_STILL_SECONDS = 1.0
_UNKNOWN = "no such user"  # an answer, too: PgBouncer has asked PostgreSQL


class Pulse:
    """The longest wait of a new login; milliseconds, from the wish to log in to the question, however many attempts lie between."""

    def __init__(self, want: Instance) -> None:
        hop: Hop = "direct" if want.pooler is None else "pooled"
        self._address = wire.dial(want.reach(hop).listen[0])
        self._port = want.hop_port(hop) or 0
        self._user, self._database = outside.anyone(want)
        self._lock = threading.Lock()
        self._longest = 0.0
        self._since = 0.0  # when the wish came that is not met yet; 0 between two
        self._beating = threading.Lock()
        self._felt = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin, where new clients are served now: nobody waits for what does not serve."""
        self._felt = self._beat(_FIRST_SECONDS)
        if self._felt:
            self._thread.start()

    def end(self) -> None:
        """Stop, and do not wait for a beat under way."""
        self._ending.set()

    @contextlib.contextmanager
    def stilled(self) -> Iterator[None]:
        """Begin no login while this lasts; it counts as a wait, from its beginning to the next login that is answered."""
        alone = self._beating.acquire(timeout=_STILL_SECONDS)
        with self._lock:
            self._since = self._since or time.monotonic()
        try:
            yield
        finally:
            if alone:
                self._beating.release()

    def longest(self) -> float | None:
        """Return the longest wait since this was asked last, also one that is not over; None where nobody was served."""
        if not self._felt:
            return None
        with self._lock:
            now = (time.monotonic() - self._since) * 1000 if self._since else 0.0
            longest, self._longest = max(self._longest, now), 0.0
        return round(longest, 1)

    def _run(self) -> None:
        while not self._ending.wait(_BETWEEN_SECONDS):
            with self._lock:
                self._since = self._since or time.monotonic()
            while not self._met() and not self._ending.wait(_AGAIN_SECONDS):
                pass

    def _met(self) -> bool:
        """Try to meet the wish to log in; tell whether it was."""
        with self._beating:
            if not self._beat(_BEAT_SECONDS):
                return False
            with self._lock:
                self._longest = max(self._longest, (time.monotonic() - self._since) * 1000)
                self._since = 0.0
            return True

    def _beat(self, seconds: float) -> bool:
        """Begin a login; tell whether a proof was asked for. It may be over TLS before a change and in plaintext after it."""
        said = wire.auth_methods(self._address, self._port, self._user, self._database, seconds=seconds)
        if said.kind == "unreachable" and said.message == wire.NO_TLS:
            said = wire.startup_plain(self._address, self._port, self._user, self._database, seconds=seconds)
        return said.kind == "authentication" or said.message == _UNKNOWN


@contextlib.contextmanager
def felt(want: Instance, *, serves: bool) -> Iterator[Pulse]:
    """Feel the pulse of an instance while this lasts; where its PostgreSQL does not serve, nothing is felt."""
    pulse = Pulse(want)
    if serves:
        pulse.start()
    try:
        yield pulse
    finally:
        pulse.end()
