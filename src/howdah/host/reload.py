"""Make a running server load its files, and prove that it has.

The digest alone proves nothing: PostgreSQL takes the good values beside a bad one, and the new digest with them. So its own views of
the files are asked, and its log, for that alone says when a certificate was rejected.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from howdah.core.host import Refused
from howdah.errors import Failed
from howdah.host import serverlog, sql
from howdah.host.postgres import POLL_SECONDS, Seat
from howdah.phrase import say

_DOING = say("make PostgreSQL load its files")
_NOW: Final = "SELECT extract(epoch FROM clock_timestamp()), pg_reload_conf()"
_LOADED: Final = """
SELECT current_setting('howdah.digest', true), extract(epoch FROM pg_conf_load_time()),
    ARRAY(SELECT coalesce(f.name || ': ', '') || f.error FROM pg_file_settings f LEFT JOIN pg_settings s USING (name)
          WHERE f.error IS NOT NULL AND NOT (s.context = 'postmaster' AND f.error = 'setting could not be applied')
          AND NOT (f.name IS NULL AND f.error ~ '^parameter ".*" cannot be changed without restarting the server$'))
    || ARRAY(SELECT 'pg_hba.conf line ' || line_number || ': ' || error FROM pg_hba_file_rules WHERE error IS NOT NULL)
"""
_ROUTINE: Final = ("received SIGHUP", "parameter ", "checkpoint ", "configuration file ")
# "pg_hba.conf was not reloaded", "pg_ident.conf was not reloaded", "SSL configuration was not reloaded" (postmaster.c). That
# postgresql.conf "contains errors" is also said of a restart-only setting that merely waits: the view above knows better.
_REJECTED: Final = "was not reloaded"


def reload(seat: Seat, digest: str, seconds: float = 10) -> None:
    """Reload, and return when fresh connections report `digest` and a load after this moment, with no file rejected.

    Raises Refused with the server's words when it rejects a file, Failed when nothing is seen in time.
    """
    before = _sizes(seat)
    deadline = time.monotonic() + seconds
    with sql.control(seat, _DOING) as session:
        asked = float((session.execute(_NOW).fetchone() or (0,))[0])
    while not _has_loaded(seat, digest, asked, before):
        if time.monotonic() > deadline:
            message = say(
                "cannot see that PostgreSQL loaded its files within {seconds} s: {words}", seconds=seconds, words=_news(seat, before)
            )
            raise Failed("not_loaded", message)
        time.sleep(POLL_SECONDS)


def _has_loaded(seat: Seat, digest: str, asked: float, before: Mapping[Path, int]) -> bool:
    # A fresh connection is forked after the postmaster has gone through all its files; an old one would learn of them later.
    with sql.control(seat, _DOING, fresh=True) as session:
        row = session.execute(_LOADED).fetchone()
    assert row is not None
    reported, loaded_at, errors = row
    if errors:
        words = _complaint(_news(seat, before)) or "; ".join(errors)
        raise Refused("refused_by_postgres", say("PostgreSQL refuses this: {words}", words=words))
    if reported != digest or float(loaded_at) < asked:
        return False
    news = _news(seat, before)
    if _REJECTED in news:
        raise Refused("refused_by_postgres", say("PostgreSQL refuses this: {words}", words=_complaint(news)))
    return True


def _complaint(news: str) -> str:
    """Return the messages of the log lines that complain, with what stands before the verdict.

    >>> _complaint("x LOG:  received SIGHUP, reloading\\nx LOG:  no such file\\nx LOG:  SSL configuration was not reloaded")
    'no such file; SSL configuration was not reloaded'
    """
    said = re.findall(r"(?:LOG|WARNING|ERROR|FATAL|DETAIL|HINT|CONTEXT):  (.*)", news)
    return "; ".join(text for text in said if not text.startswith(_ROUTINE))


def _sizes(seat: Seat) -> Mapping[Path, int]:
    return {path: path.stat().st_size for path in serverlog.log_files(seat.layout) if path.exists()}


def _unmoved(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _news(seat: Seat, before: Mapping[Path, int]) -> str:
    """Return what the server has logged since `before`."""
    texts = []
    for path in serverlog.log_files(seat.layout):
        if path.exists() and path.stat().st_size > before.get(path, 0):
            with open(path, "rb", opener=_unmoved) as log:
                log.seek(before.get(path, 0))
                texts.append(log.read(65536).decode(errors="replace"))
    return "\n".join(texts)
