"""Texts that somebody writes by mistake or on purpose, and how many of them a property looks at: ten times as many with --all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# What files, statements, shells and terminals read otherwise than as themselves.
SPECIAL = "'\"\\`$;#%&|<>*?!@=:,/ []{}()~^-+.\t\n\r\0\v\x1b\x7f\x85\u2028\u2029\ufeff\u202e\u200b\u00a0\u0430\u0130ßéЖ😀"
FRAGMENTS = (
    "..",
    "../../etc/passwd",
    "'; DROP ROLE postgres; --",
    "x'\nshared_preload_libraries = 'evil",
    "\n[pgbouncer]\nauth_type = any",
    "%include /etc/passwd",
    "include_dir '/tmp'",
    "\nhost all all 0.0.0.0/0 trust",
    "$(id)",
    "`id`",
    "${HOME}",
    "%s%n",
    "{0}",
    "%41",
    "@file",
    "+group",
    "/regex",
    "all",
    "\\1",
    "a" * 300,
)
texts: st.SearchStrategy[str] = st.one_of(
    st.text(st.sampled_from(SPECIAL) | st.characters(codec="utf-8"), max_size=40),
    st.lists(st.sampled_from(FRAGMENTS) | st.text(st.sampled_from(SPECIAL), max_size=5), max_size=4).map("".join),
    st.sampled_from(["", " ", "x" * 10_000, "'" * 10_000, "\\" * 9_999]),
)
# As `texts`, but mostly of what is let through: so that the carrying is tried and not the refusing alone.
fair: st.SearchStrategy[str] = st.text(
    st.sampled_from("'\"\\`$;#%&|<>*?!@=:,/ []{}()~^-+.ßéЖ😀") | st.characters(codec="utf-8", exclude_categories=("C", "Z")),
    min_size=1,
    max_size=20,
)
names = fair | texts


def examples(few: int) -> Callable[[Any], Any]:
    """Return the settings of a property on real servers: `few` examples, and as many more as the profile has."""
    many = few * settings.default.max_examples // 100 if settings.default is not None else few
    return settings(max_examples=many, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
