"""A user's pg_service.conf and passfile as text: what stood in them stays, byte for byte, and what was added can be taken away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.connect import Target, _libpq
from howdah.connect import _servicefile as texts
from howdah.core.endpoint import Endpoint
from howdah.errors import Conflict
from howdah.secret import Secret

TARGET = Target(
    Endpoint("pooled", "127.0.0.1", 6432, True, ("127.0.0.1",)),
    "shop",
    "app",
    "verify-full",
    Path("/srv/ca.crt"),
    None,
    "session",
    "demo",
    False,
)
DIRECT = replace(TARGET, endpoint=replace(TARGET.endpoint, kind="direct", port=5432), pool_mode=None)
OWNER = texts.Owner("demo-pooled", "abcd1234")
OURS = texts.marked_by("demo", "abcd1234")
PASSWORD = Secret("a:b\\c")
FOREIGN = b"# mine\n[other]\nhost=h\n\n# about demo\n[demo]\nuser=x\n"
LINES = st.lists(st.sampled_from([b"# x", b"", b"[other]", b"[demo]", b"host=h", b"  user = y", b"\xff\xfe", b"a:1:b:c:d", b"*:*:*:*:e"]))


def texts_of(lines: list[bytes], end: bytes) -> bytes:
    return b"".join(line + end for line in lines)


@given(LINES, st.sampled_from([b"\n", b"\r\n"]))
def test_adding_twice_is_adding_once_and_taking_away_leaves_what_was_there(lines: list[bytes], end: bytes) -> None:
    before = texts_of(lines, end)
    once = texts.with_section(before, OWNER, TARGET)
    assert once.startswith(before)
    assert texts.with_section(once, OWNER, TARGET) == once
    assert texts.without_sections(once, OURS).rstrip() == before.rstrip()
    kept = texts.with_password(before, OWNER, TARGET, PASSWORD)
    assert kept.endswith(before) and texts.with_password(kept, OWNER, TARGET, PASSWORD) == kept
    assert texts.without_passwords(kept, OURS) == before


def test_a_file_without_an_end_of_line_gets_one() -> None:
    assert texts.with_section(b"[other]\nhost=h", OWNER, TARGET).startswith(b"[other]\nhost=h\n\n# howdah: demo-pooled")


def test_a_section_is_refreshed_in_its_place_and_keeps_what_was_added_to_it() -> None:
    first = texts.with_section(FOREIGN, OWNER, TARGET)
    edited = first + b"connect_timeout=3\n\n# next\n[third]\nhost=z\n"
    moved = replace(TARGET, endpoint=replace(TARGET.endpoint, port=7000))
    again = texts.with_section(edited, OWNER, moved)
    assert b"port=7000\n" in again and b"port=6432" not in again
    assert again.startswith(FOREIGN) and b"connect_timeout=3\n\n# next\n[third]\nhost=z\n" in again
    assert texts.without_sections(again, OURS) == FOREIGN + b"\n# next\n[third]\nhost=z\n"


def test_sections_of_others_are_never_touched() -> None:
    with pytest.raises(Conflict, match="demo-pooled"):
        texts.with_section(b"[demo-pooled]\nhost=h\n", OWNER, TARGET)
    theirs = texts.with_section(b"", texts.Owner("demo-pooled", "zzzz9999"), TARGET)
    with pytest.raises(Conflict):
        texts.with_section(theirs, OWNER, TARGET)
    assert texts.without_sections(theirs, OURS) == theirs
    assert texts.sections(theirs, texts.marked_by("demo")) == ("demo-pooled",)
    assert texts.without_sections(theirs, texts.marked_by("demo")) == b""


def test_a_password_stands_first_and_replaces_only_its_own() -> None:
    pooled = texts.with_password(b"*:*:*:app:old\n", OWNER, TARGET, PASSWORD)
    assert pooled.splitlines()[1] == b"127.0.0.1:6432:shop:app:a\\:b\\\\c"
    both = texts.with_password(pooled, texts.Owner("demo-direct", "abcd1234"), DIRECT, PASSWORD)
    new = texts.with_password(both, OWNER, TARGET, Secret("new"))
    assert new.count(b"6432:shop:app") == 1 and b"6432:shop:app:new\n" in new and b"5432:shop:app:a" in new
    moved = texts.with_password(new, OWNER, replace(TARGET, endpoint=replace(TARGET.endpoint, port=7000)), Secret("new"))
    assert b"6432" not in moved and b"7000:shop:app:new\n" in moved


def test_a_foreign_line_for_the_same_target_is_left_or_refused() -> None:
    same = _libpq.passfile_line(TARGET, PASSWORD).reveal().encode() + b"\n"
    assert texts.with_password(same, OWNER, TARGET, PASSWORD) == same
    with pytest.raises(Conflict, match=r"127\.0\.0\.1:6432"):
        texts.with_password(same, OWNER, TARGET, Secret("other"))


def test_a_new_password_follows_in_our_lines_alone() -> None:
    odd = replace(TARGET, user="a:b")
    kept = texts.with_password(b"127.0.0.1:1:shop:app:theirs\n", OWNER, TARGET, PASSWORD)
    kept = texts.with_password(kept, OWNER, odd, Secret("odd"))
    new = texts.with_new_password(kept, OURS, "app", Secret("n:w"))
    assert new == kept.replace(b"a\\:b\\\\c", b"n\\:w") and new != kept
    assert texts.with_new_password(kept, OURS, "a:b", None) == texts.with_password(
        b"127.0.0.1:1:shop:app:theirs\n", OWNER, TARGET, PASSWORD
    )
