"""Every sentence has its Russian, with the same placeholders, and the catalogue that is shipped is the one that was written."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from howdah.language import LOCALE, language, translation
from howdah.phrase import say

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def translate() -> ModuleType:
    """The tool that keeps the catalogues."""
    spec = importlib.util.spec_from_file_location("translate", ROOT / "tools" / "translate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_is_missing_and_the_files_are_up_to_date(translate: ModuleType) -> None:
    """Run `python tools/translate.py`, then translate what it names in howdah.po, and run it again."""
    wanted, catalog = translate.texts()
    assert translate.missing(catalog) == []
    assert [path.name for path, text in wanted.items() if path.read_bytes() != text] == []


def test_every_sentence_is_a_literal_that_is_found(translate: ModuleType) -> None:
    """What is made up at run time cannot be translated; what stands inside an f-string is not found (Babel reads tokens)."""
    _, catalog = translate.texts()
    for path in translate.SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
                said = node.args[0]
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                assert isinstance(said, ast.Constant) and isinstance(said.value, str), place
                assert said.value in catalog, place


def test_commands_stay_commands(translate: ModuleType) -> None:
    """What a person is to type is the same in both languages."""
    _, catalog = translate.texts()
    for message in catalog:
        if message.id:
            for word in re.findall(r"(?<![\w-])--[a-z][a-z-]+|[A-Z]{2,}(?:_[A-Z]+)+", str(message.id)):
                assert word in str(message.string), message.id


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "ru"}, "ru"),
        ({"LANG": "ru_RU.UTF-8", "LC_MESSAGES": "de_DE.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "ru_RU.UTF-8"}, "ru"),
        ({"LC_MESSAGES": "ru_RU.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LC_ALL": "C", "HOWDAH_LANG": "ru"}, "ru"),
        ({"LC_ALL": "ru_RU.UTF-8", "HOWDAH_LANG": "en"}, "en"),
        ({"LANG": "rumantsch"}, "en"),
        ({"LANG": "../../etc"}, "en"),
        ({"LC_ALL": "", "LANG": "ru_RU"}, "ru"),
    ],
)
def test_the_environment_chooses(environment: dict[str, str], expected: str) -> None:
    assert language(environment) == expected


def test_phrases_within_phrases_are_translated() -> None:
    speak = translation("ru")
    inner = say("expected on or off")
    assert say("cannot set {name}: {reason}", name="ssl", reason=inner).translated(speak) == "нельзя задать ssl: ожидалось on или off"
    assert speak("") == "" and speak("never heard of") == "never heard of"
    assert (LOCALE / "ru" / "LC_MESSAGES" / "howdah.mo").exists()
