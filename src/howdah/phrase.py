"""A sentence for people, kept as template and values so that an edge can say it in the reader's language.

English is the source: `str(phrase)` is what JSON, codes and logs carry. Nothing here knows which languages exist; an edge hands in
the translation function (gettext's).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Phrase:
    """An English template and the values that fill it; a value may itself be a `Phrase`."""

    template: str
    values: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.translated(lambda text: text)

    def translated(self, gettext: Callable[[str], str]) -> str:
        """Return the sentence in the language that `gettext` speaks.

        >>> say("cannot find {what}", what="shop").translated({"cannot find {what}": "{what} fehlt"}.__getitem__)
        'shop fehlt'
        >>> str(say("cannot find {what}", what=say("instance {name}", name="shop")))
        'cannot find instance shop'
        """
        filled = {key: v.translated(gettext) if isinstance(v, Phrase) else v for key, v in self.values.items()}
        return gettext(self.template).format_map(filled) if filled else gettext(self.template)


def say(template: str, /, **values: object) -> Phrase:
    """Make a `Phrase`; the name by which translatable text is found in the source.

    >>> str(say("cannot set {name}={value}: expected an integer", name="max_connections", value="lots"))
    'cannot set max_connections=lots: expected an integer'
    """
    return Phrase(template, values)


def to_record(phrase: Phrase) -> dict[str, Any]:
    """Return a phrase as plain JSON values, so that a reader of any language can be told it later."""
    return {"template": phrase.template, "values": {key: _plain(value) for key, value in phrase.values.items()}}


def _plain(value: object) -> object:
    if isinstance(value, Phrase):
        return to_record(value)
    return value if isinstance(value, int | float) else str(value)


def from_record(record: Mapping[str, Any]) -> Phrase:
    """Return the phrase that `to_record` wrote.

    >>> phrase = say("cannot find {what}", what=say("instance {name}", name="shop"))
    >>> from_record(to_record(phrase)) == phrase
    True
    """
    values = {key: from_record(v) if isinstance(v, dict) else v for key, v in record["values"].items()}
    return Phrase(record["template"], values)
