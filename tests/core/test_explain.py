"""Known messages found in what people paste: every one of the table by its own words, in noise, and nothing where nothing is known."""

from __future__ import annotations

import gettext
import json
import re
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.catalog.messages import BY_PLACE, MESSAGES, Message
from howdah.catalog.messages.matching import MOST, explain
from howdah.catalog.messages.russian import WORDS
from howdah.catalog.messages.states import MEANS

BY_ID = {message.id: message for message in MESSAGES}
TOLD = (*BY_PLACE["client"], *BY_PLACE["driver"])
CATALOGUES = Path("/usr/share/locale/ru/LC_MESSAGES")
NOISE: tuple[str, ...] = (
    "{}",
    'psql: error: connection to server at "127.0.0.1", port 6432 failed: FATAL:  {}\n',
    'Traceback (most recent call last):\n  File "x.py", line 3, in <module>\n    psycopg.connect()\npsycopg.OperationalError: {}',
    "\x1b[31merror:\x1b[0m {}\n    at Parser.parseErrorMessage (/srv/node_modules/pg-protocol/dist/parser.js:285:98)\n  severity: 'FATAL',",
    'Exception in thread "main" org.postgresql.util.PSQLException: FATAL: {}\n\tat org.postgresql.Driver.connect(Driver.java:291)',
    "2026-11-23 07:00:00.000 UTC [4711] app@shop FATAL:  {}",
    "panic: failed to connect to `host=h user=app database=shop`: server error (FATAL: {})\n\ngoroutine 1 [running]:",
)


def said(message: Message) -> str:
    """Return a message as it might be said, with a name for what changes."""
    return message.words.replace("…", '"x"')


def words(text: str) -> list[str]:
    return [match.message.words for match in explain(text)]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.id)
def test_each_is_found_by_its_own_words(message: Message) -> None:
    assert message.words in words(said(message))


@pytest.mark.parametrize("message", TOLD, ids=lambda message: message.id)
def test_what_clients_are_told_is_found_first_in_noise(message: Message) -> None:
    for noise in NOISE:
        assert words(noise.format(said(message)))[0] == message.words, noise


@pytest.mark.parametrize("message", TOLD, ids=lambda message: message.id)
def test_it_is_found_in_json_and_in_lines_that_a_terminal_broke(message: Message) -> None:
    text = said(message)
    log = json.dumps({"level": "error", "err": {"stack": ["x", f"FATAL: {text}"]}})
    assert words(log)[0] == message.words
    assert words(f"10:00 app | {json.dumps(text)}") == words(text)
    assert message.words in words("\n".join(textwrap.wrap(f"FATAL: {text}", 40)))
    assert words(text.upper().replace('"', "“")) == words(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "the extension is not allowed in this place of the program",
        "no such user interface",
        'relation "users" does not exist',
        'syntax error at or near "SELEC"',
        "error: 42",
        "SQLSTATE 99999",
    ],
)
def test_what_is_not_known_stays_unknown(text: str) -> None:
    assert explain(text) == ()


@given(st.text(max_size=300))
def test_any_text_is_looked_at_without_harm(text: str) -> None:
    assert len(explain(text)) <= MOST


def test_the_most_telling_comes_first_and_at_most_three() -> None:
    """psql tries both addresses of localhost, and the second one answers."""
    refused = 'connection to server at "localhost" (::1), port 5432 failed: Connection refused\n\tIs the server running on that host?'
    told = 'connection to server at "localhost" (127.0.0.1), port 5432 failed: FATAL:  password authentication failed for user "app"'
    assert [match.message.id for match in explain(f"psql: error: {refused}\n{told}")][:2] == ["libpq-refused", "wrong-password"]
    assert [match.message.id for match in explain("FATAL:  SASL authentication failed")] == ["wrong-password-pooled", "no-login-pooled"]
    assert len(explain("\n".join(said(message) for message in TOLD))) == MOST


def test_a_sqlstate_speaks_where_the_words_are_not_known() -> None:
    for text in (
        "FEHLER: 28P01: Passwort falsch",
        "SQLSTATE[28P01] [7] x",
        "x (SQLSTATE 28P01)",
        "{ code: '28P01' }",
        '{"sqlState":"28P01"}',
    ):
        if not text.startswith("FEHLER"):
            assert [match.message.id for match in explain(text)] == ["wrong-password"], text
            assert explain(text)[0].by_state
    assert not explain('FATAL:  password authentication failed for user "app" (SQLSTATE 28P01)')[0].by_state


def test_states_and_russian_words_are_of_known_messages() -> None:
    assert {name for names in MEANS.values() for name in names} | set(WORDS) <= set(BY_ID)


@pytest.mark.parametrize("name", WORDS)
def test_russian_is_explained_as_english_is(name: str) -> None:
    for text in WORDS[name]:
        assert words(f"psql: ошибка: ВАЖНО:  {text.replace('…', '«x»')}")[0] == BY_ID[name].words


def test_russian_words_are_those_of_the_servers_own_translation() -> None:
    """Where this machine has the translations: each entry occurs in one of them."""
    files = [path for name in ("postgres", "libpq5") for path in CATALOGUES.glob(f"{name}-*.mo")]
    if not files:
        pytest.skip(f"no translations of PostgreSQL are in {CATALOGUES}")
    known = [text for path in files for text in _translations(path)]
    composed = {"plaintext", "closed-to-the-network", "libpq-refused", "libpq-socket", "libpq-silence", "libpq-mode", "schema-public"}
    for name, texts in WORDS.items():
        for text in texts:
            pattern = ".*".join(re.escape(part) for part in text.split("…"))
            assert name in composed or any(re.search(pattern, each, re.DOTALL) for each in known), text


def _translations(path: Path) -> list[str]:
    with path.open("rb") as file:
        found: dict[object, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    return [text.replace('"%s"', "…") for text in found.values()]
