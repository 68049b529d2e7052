"""Turn the authority over to a successor, in turns that overlap, each by one rename of the file that clients have.

Announced, the file holds both and the old one issues; switched, it holds both and the new one issues; finished, the new one is alone and
the old one's key is destroyed. Each turn but the last can be recalled. Killed anywhere, the file says which turn it is, and whoever turns
next clears up what was left. Whether it is time, and whether clients have the file, is for others to say.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from howdah.core.rotation import Bundle, Phase, Turn
from howdah.errors import Conflict, Failed
from howdah.host import bundle, files, pki
from howdah.phrase import say

_FROM: Final[dict[Turn, tuple[Phase, ...]]] = {
    "announce": ("settled",),
    "switch": ("announced",),
    "finish": ("switched",),
    "recall": ("announced", "switched"),
}


def turn(home: Path, asked: Turn) -> Bundle:
    """Make one turn and return how it stands then. Conflict `authority_elsewhere` where the change stands at another."""
    pki.authority(home)
    with pki.alone(home / "ca"):
        _clear_up(home)
        there = bundle.show(home)
        if there.phase not in _FROM[asked]:
            hint = say("howdah ca show tells where the change stands")
            raise Conflict("authority_elsewhere", say("cannot {turn}: the authority is {phase}", turn=asked, phase=there.phase), hint)
        _turn(home, there, asked)
        return bundle.show(home)


def clear_up(home: Path) -> None:
    """Take away what a change that was killed has left behind."""
    with pki.alone(home / "ca"):
        _clear_up(home)


def _turn(home: Path, there: Bundle, asked: Turn) -> None:
    if asked == "announce":
        _put(home, there.issuer.pem, pki.make_successor(home))
        return
    other = there.other
    assert other is not None  # announced and switched have two
    back_to_one = asked == "finish" or (asked == "recall" and there.phase == "announced")
    if back_to_one:
        _put(home, there.issuer.pem)
        _clear_up(home)
        return
    if not any(pki.holds(home, name, other.pem) for name in ("ca.key", "next.key")):
        raise Failed(
            "authority_keyless",
            say("cannot {turn}: the key of the other authority is not in {path}", turn=asked, path=home / "ca"),
            say("put ca.key and next.key back from a copy; before the switch, howdah ca recall gives the successor up"),
        )
    _put(home, other.pem, there.issuer.pem)


def _put(home: Path, *authorities: str) -> None:
    files.put(home / "ca" / "ca.crt", "".join(authorities), 0o644)


def _clear_up(home: Path) -> None:
    """Where one authority is alone, let its key alone be there, under the name of old; a key of which nothing is left is destroyed."""
    there, directory = bundle.show(home), home / "ca"
    if not there.cut_off:
        return
    if pki.holds(home, "next.key", there.issuer.pem):
        _destroy(directory / "ca.key")
        (directory / "next.key").rename(directory / "ca.key")
        files.sync_directory(directory)
    _destroy(directory / "next.key")
    files.unlink(directory / "next.key")
    files.unlink(directory / "next.crt")
    files.sync_directory(directory)


def _destroy(key: Path) -> None:
    """Write over a key in its place, so that its blocks do not hold it once the file is gone, as far as the file system writes there."""
    try:
        descriptor = os.open(key, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.write(descriptor, b"\0" * os.fstat(descriptor).st_size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
