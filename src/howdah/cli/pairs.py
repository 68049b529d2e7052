"""How names and values are written on the command line: `K=V`, and `pooler:k=v,k=v`. What they mean is judged elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

from howdah.core.instance import shown
from howdah.errors import Invalid
from howdah.phrase import say


def pairs(words: Iterable[str]) -> dict[str, str]:
    """Return names with their values; the first `=` parts them, so that a value may contain more.

    >>> pairs(["search_path=a, b", "x=a=b"])
    {'search_path': 'a, b', 'x': 'a=b'}
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip()
        if not equals or not name:
            raise Invalid("usage", say("cannot read {word}: expected NAME=VALUE", word=shown(word) or "''"))
        if name.lower() in {known.lower() for known in found}:
            raise Invalid("usage", say("cannot set {name} twice in one command", name=shown(name)))
        found[name] = value
    return found


def extensions(words: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return extensions with their settings.

    >>> extensions(["pooler:pool_mode=session,listen_port=6543", "pg_stat_statements"])
    {'pooler': {'pool_mode': 'session', 'listen_port': '6543'}, 'pg_stat_statements': {}}
    """
    found: dict[str, dict[str, str]] = {}
    for word in words:
        name, colon, settings = word.partition(":")
        if not name or (colon and not settings):
            hint = say("write it as pooler or as pooler:pool_mode=session,listen_port=6543")
            raise Invalid("usage", say("cannot read extension {word}", word=shown(word) or "''"), hint)
        if name in found:
            raise Invalid("usage", say("cannot add {name} twice in one command", name=shown(name)))
        found[name] = pairs(settings.split(",")) if settings else {}
    return found
