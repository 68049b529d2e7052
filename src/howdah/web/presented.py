"""The certificate that the console presents, kept up to date while it runs: what lies in its files is taken for connections that follow.

Howdah's own is issued anew in time, and when this machine has another name or address; one of somebody's own is read again when its files
have changed. A pair that does not fit together is told once and not taken: the one before is presented on.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path

from howdah.errors import Refusal
from howdah.phrase import say

Pair = tuple[Path, Path]
LOOK_SECONDS = 20

log = logging.getLogger("howdah.serve")


class Presented:
    """What a TLS context presents; `pair` tells where certificate and key lie, and may issue them first."""

    def __init__(self, context: ssl.SSLContext, pair: Callable[[], Pair]) -> None:
        self._context = context
        self._pair = pair
        self._seen = self._look()
        self._told = ""

    def _look(self) -> tuple[object, ...]:
        """Return by what a change is known: paths, and which files lie there, through links as certbot makes them."""
        pair = self._pair()
        seen = [os.stat(path) for path in pair]  # noqa: PTH116 both follow links alike
        return (*pair, *((each.st_dev, each.st_ino, each.st_mtime_ns, each.st_size) for each in seen))

    def changed(self) -> Pair | None:
        """Return a pair that is another than the one presented, and fit to be; it reads and may issue: not for the loop's own thread."""
        try:
            seen = self._look()
            if seen == self._seen:
                return None
            pair = (Path(str(seen[0])), Path(str(seen[1])))
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*pair, password=_no_password)
        except (OSError, ValueError, Refusal) as error:
            self._tell(str(error))
            return None
        self._seen, self._told = seen, ""
        return pair

    def take(self, pair: Pair) -> None:
        """Present another pair from now on; in the thread that makes the handshakes, so that none comes in between."""
        try:
            self._context.load_cert_chain(*pair, password=_no_password)
        except (OSError, ValueError) as error:  # the file changed again in between: the next look sees that
            self._tell(str(error))
        else:
            log.info("%s", say("the console presents another certificate: {path}", path=pair[0]))

    def _tell(self, reason: str) -> None:
        if reason != self._told:
            log.warning(
                "%s", say("the console presents its certificate of before: cannot take the one that lies there: {reason}", reason=reason)
            )
        self._told = reason


def _no_password() -> str:
    raise ValueError("the key has a password")  # else OpenSSL would ask the terminal
