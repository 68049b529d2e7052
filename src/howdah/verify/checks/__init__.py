"""What is checked: a few files by theme, one function for each check, found by listing this folder in the order of their names."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from howdah.verify.report import Check


@cache
def checks() -> tuple[Check, ...]:
    """Return every check, in the order of the themes and within a theme as written."""
    themes = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return tuple(entry for theme in themes for entry in vars(theme).values() if isinstance(entry, Check))
