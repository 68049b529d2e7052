"""What may be added to an instance: one file per extension, found by listing this folder.

An entry is plain data: its settings, the library to preload, the SQL extension to create. What a process-running extension (the
pooler) does with its settings is the engine's business; the entry knows nothing of machines.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from howdah.catalog import parameters
from howdah.catalog.parameters import Parameter, shown
from howdah.errors import Invalid, NotFound
from howdah.phrase import Phrase, say

Kind = Literal["integer", "seconds", "enum", "boolean"]


@dataclass(frozen=True)
class Setting:
    """One setting of an extension: its type, range, default and what it means."""

    name: str
    kind: Kind
    description: Phrase
    default: str | None = None  # None: chosen when the extension is added, and said
    minimum: int = 0
    maximum: int = 2_147_483_647
    choices: tuple[str, ...] = ()
    since: tuple[int, ...] = ()  # the first version of the program that knows it
    whole: bool = False  # seconds that the program reads as a whole number
    told: bool = True  # the program itself knows it by this name
    swaps: bool = False  # a running process cannot reload it, or not without harm to who is connected: a new generation takes over

    def parse(self, text: str) -> str:
        """Return the checked text of a value, or refuse it; PgBouncer itself wraps integers and takes -1, so ranges are ours to hold."""
        if self.kind == "enum":
            return self._choice(text)
        if self.kind == "boolean":
            return self._boolean(text)
        return self._number(text)

    def _choice(self, text: str) -> str:
        if text.lower() not in self.choices:
            raise self._refuse(text, say("expected one of {choices}", choices=", ".join(self.choices)))
        return text.lower()

    def _boolean(self, text: str) -> str:
        words = {"1": "1", "on": "1", "true": "1", "yes": "1", "0": "0", "off": "0", "false": "0", "no": "0"}
        if text.lower() not in words:
            raise self._refuse(text, say("expected on or off"))
        return words[text.lower()]

    def _number(self, text: str) -> str:
        whole, point, rest = text.partition(".")
        fraction = self.kind == "seconds" and not self.whole and rest.isdigit()
        if not (text.isascii() and whole.isdigit() and len(text) < 16 and (fraction or not point)):
            raise self._refuse(text, say("expected a whole number"))
        if not self.minimum <= float(text) <= self.maximum:
            raise self._refuse(text, say("expected {minimum} to {maximum}", minimum=self.minimum, maximum=self.maximum))
        return f"{int(whole)}.{rest}".rstrip("0").removesuffix(".") if fraction else str(int(whole))

    def _refuse(self, text: str, expected: Phrase) -> Invalid:
        message = say("cannot set {name}={value}: {expected}", name=self.name, value=shown(text), expected=expected)
        return Invalid("invalid_value", message)


@dataclass(frozen=True)
class Extension:
    """Something that is added to an instance by name."""

    name: str
    title: Phrase
    description: Phrase
    package: str  # of Debian, PGDG and Ubuntu, which brings it; {major} stands for PostgreSQL's version
    settings: Mapping[str, Setting] = field(default_factory=dict)
    preload: str | None = None  # library for shared_preload_libraries: adding or removing it costs one restart
    creates: str | None = None  # SQL extension made in every database
    program: str | None = None  # what runs beside PostgreSQL for it
    port: str | None = None  # the setting by which it takes a TCP port of this machine
    parameters: Mapping[str, Parameter] = field(default_factory=dict)  # PostgreSQL parameters that the library brings

    def parse(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the settings checked, or refuse an unknown name or a wrong value."""
        return {name: self._parse(name, text) for name, text in given.items()}

    def _parse(self, name: str, text: str) -> str:
        if name in self.settings:
            return self.settings[name].parse(text)
        if name in self.parameters:
            return parameters.checked(self.parameters[name], text)
        near = difflib.get_close_matches(name, (*self.settings, *self.parameters), 3)
        hint = say("did you mean {near}?", near=", ".join(near)) if near else say("see `howdah extensions catalog`")
        message = say("cannot set {name} of extension {extension}: there is no such setting", name=shown(name), extension=self.name)
        raise Invalid("unknown_setting", message, hint)


@cache
def catalog() -> Mapping[str, Extension]:
    """Return every extension by name, read from the files of this folder."""
    found = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return {entry.EXTENSION.name: entry.EXTENSION for entry in found}


def extension(name: str) -> Extension:
    """Return the extension of that name, or NotFound with the names there are."""
    if name not in catalog():
        hint = say("there are: {names}", names=", ".join(sorted(catalog())))
        raise NotFound("unknown_extension", say("cannot find extension {name}", name=shown(name)), hint)
    return catalog()[name]
