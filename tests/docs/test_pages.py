"""What must hold of every page: links lead somewhere, both languages show the same commands, nothing of anybody's workplace is named."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from tests.docs import pages

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
# Pieced together, so that this file does not name them either
WORKPLACE = tuple(
    "".join(parts) for parts in (("/wo", "rk/"), ("ses", "sion of the project"), ("issue", " #"), ("help", "er agent"), ("bri", "ef.md"))
)


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings make, as GitHub makes them."""
    titles = _HEADING.findall(_FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for found in _LINK.finditer(_FENCED.sub("", page.read_text())):
        link = unquote(found[1] or found[2])
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_reached_from_the_readme() -> None:
    reached, ahead = set[Path](), [pages.ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        links = (found[1] for found in _LINK.finditer(page.read_text()) if found[1] and not re.match(r"[a-z]+:", found[1]))
        ahead += [(page.parent / link.partition("#")[0]).resolve() for link in links]
    assert not {pages.name(page) for page in set(pages.PAGES) - reached}


def test_both_tutorials_show_the_same_commands() -> None:
    english, russian = (pages.ROOT / "docs" / "tutorial" / f"{language}.md" for language in ("en", "ru"))
    assert [each.text for each in pages.commands(english)] == [each.text for each in pages.commands(russian)]
    headings = [[mark for mark, _ in re.findall(r"^(#+) (.+)$", page.read_text(), re.MULTILINE)] for page in (english, russian)]
    assert headings[0] == headings[1]


def test_changelog_has_a_place_for_the_next_change() -> None:
    assert re.search(r"^## Unreleased$", (pages.ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_decisions_are_numbered_without_a_gap_and_listed() -> None:
    records = sorted(page.name for page in (pages.ROOT / "docs" / "adr").glob("0*.md"))
    assert [int(name[:4]) for name in records] == list(range(1, len(records) + 1))
    listed = (pages.ROOT / "docs" / "adr" / "README.md").read_text()
    assert all(f"({name})" in listed for name in records)


def test_reference_is_as_the_program_is() -> None:
    checked = subprocess.run([sys.executable, "tools/reference.py", "--check"], cwd=pages.ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_licence_is_apache() -> None:
    text = (pages.ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text


def test_nothing_of_a_workplace_is_named() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=pages.ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a clone: git does not list the files")
    files = [pages.ROOT / name for name in listed.stdout.decode().split("\0") if name]
    named = [
        f"{path.relative_to(pages.ROOT)}: {word}"
        for path in files
        if path.is_file()
        for word in WORKPLACE
        if word in path.read_text(errors="ignore")
    ]
    assert not named
