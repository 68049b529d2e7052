"""A password that Howdah made, shown once."""

from __future__ import annotations

from howdah.errors import NotFound
from howdah.phrase import say
from howdah.web.desk import Once
from howdah.web.visit import Shown, Visit


def once(visit: Visit) -> Shown:
    """Show it, and forget it."""
    found: Once | None = visit.desk.onces.take(visit.account, visit.params["number"])
    if found is None:
        raise NotFound("shown_before", say("cannot show this password: it is shown once"), say("set a new one, where it was not kept"))
    return Shown("once.html", found, found.title)
