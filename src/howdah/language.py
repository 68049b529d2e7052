"""Which language people are spoken to in, and its catalogue of sentences. English stands in the source; Russian is the one translation.

JSON, codes and logs are English whatever is chosen here. A missing sentence stays English.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

LOCALE = Path(__file__).parent / "locale"
LANGUAGES = ("en", "ru")
_OF_POSTGRES = (Path("/usr/share/locale"), Path("/usr/local/share/locale"))


def language(environ: Mapping[str, str] = os.environ) -> str:
    """Return `ru` where the environment says so, else `en`; HOWDAH_LANG goes before the locale's variables.

    >>> language({"LANG": "ru_RU.UTF-8"}), language({"LANG": "ru_RU.UTF-8", "LC_ALL": "C"}), language({"HOWDAH_LANG": "ru", "LC_ALL": "C"})
    ('ru', 'en', 'ru')
    """
    # The first that is not empty counts (POSIX, Base Definitions 8.2).
    named = next((value for name in ("HOWDAH_LANG", "LC_ALL", "LC_MESSAGES", "LANG") if (value := environ.get(name))), "")
    word = named.replace("-", "_").split("_")[0].split(".")[0].lower()
    return word if word in LANGUAGES else "en"


def translation(chosen: str) -> Callable[[str], str]:
    """Return the function that says an English sentence in a language; English needs no catalogue and no import."""
    if chosen not in LANGUAGES or chosen == "en":
        return lambda text: text
    import gettext

    catalogue = gettext.translation("howdah", LOCALE, [chosen], fallback=True)
    # The empty sentence is a catalogue's heading.
    return lambda text: catalogue.gettext(text) if text else text


@cache
def of_postgres(chosen: str, major: int) -> Callable[[str], str]:
    """Return the function that says a sentence of PostgreSQL's own: its packages bring its translations; without them it stays English."""
    if chosen not in LANGUAGES or chosen == "en":
        return lambda text: text
    import gettext

    places = (*_OF_POSTGRES, Path(f"/usr/pgsql-{major}/share/locale"))
    place = next((each for each in places if gettext.find(f"postgres-{major}", each, [chosen])), places[0])
    catalogue = gettext.translation(f"postgres-{major}", place, [chosen], fallback=True)
    return lambda text: catalogue.gettext(text) if text else text
