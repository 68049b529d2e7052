"""Every command that a document shows is run here, page by page, with the real command line and real servers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs import pages
from tests.docs.pages import Block

# What cannot run in a test: the page, the first command of the block, and why. The page says the same reason.
NOT_RUN = {
    ("docs/how-to/uninstall.md", "howdah service remove"): "it tells this machine's systemd",
    ("docs/how-to/uninstall.md", "userdel howdah-pool"): "the user is the whole machine's",
    ("docs/how-to/uninstall.md", "rm -rf ~/howdah                      # the clone"): "it removes the clone, and Debian packages",
    ("docs/how-to/upgrade.md", "git pull                     # in the clone"): "it fetches the next version",
    (
        "docs/how-to/upgrade.md",
        "cd /var/lib/howdah && rm -f store.sqlite3 store.sqlite3-wal store.sqlite3-shm && mv store.sqlite3.schema-1 store.sqlite3",
    ): "there is no copy before a schema has changed",
    ("README.md", "git clone <this repository> howdah && cd howdah"): "it clones, and installs Debian packages",
    ("docs/how-to/start-after-a-reboot.md", "howdah service install"): "it tells this machine's systemd",
    ("docs/how-to/run-serve.md", "howdah serve                              # http://127.0.0.1:8779"): "it goes on until it is ended",
    ("docs/how-to/run-serve.md", "sudo howdah service install --serve 127.0.0.1:8779"): "it tells this machine's systemd",
    ("README.md", "pipx install ./howdah     # the clone, or an address of it"): "it installs a package from the clone",
}
RUN = [page for page in pages.PAGES if pages.commands(page)]


def blocks() -> list[tuple[Path, Block]]:
    return [(page, block) for page in pages.PAGES for block in pages.console(page)]


@pytest.mark.parametrize("page", RUN, ids=pages.name)
def test_commands_do_what_the_page_says(page: Path) -> None:
    """The README and the tutorial begin with nothing, as their readers do; the others with a spare, as their readers do."""
    language = "ru" if page.stem == "ru" else "en"
    with pages.shell(language, spared="how-to" in page.parts) as shell:
        ran = shell.run(pages.commands(page))
    wrong = [said for each in ran if (said := each.wrong()) is not None]
    assert not wrong, "\n\n".join(wrong)


def test_what_is_not_run_is_listed_with_its_reason() -> None:
    marked = {(pages.name(page), block.commands()[0].text): block.not_run for page, block in blocks() if block.not_run is not None}
    assert marked == NOT_RUN


def test_commands_stand_in_console_blocks_only() -> None:
    """A command that stands elsewhere would not be run; help pages and one connection for another machine are no commands."""
    stray = [
        f"{pages.name(page)}: {line}"
        for page in pages.PAGES
        if page.name != "commands.md"
        for block in pages.blocks(page.read_text())
        if block.language != "console"
        for line in block.lines
        if line.lstrip("$ ").startswith(("howdah ", "./howdah "))
    ]
    assert not stray


def test_pages_that_should_show_commands_do() -> None:
    shown = {pages.name(page) for page in RUN}
    wanted = {
        "README.md",
        "docs/tutorial/en.md",
        "docs/tutorial/ru.md",
        *(pages.name(p) for p in (pages.ROOT / "docs/how-to").glob("*.md")),
    }
    assert wanted <= shown


def test_a_wrong_page_is_noticed() -> None:
    right = "```console\n$ echo one && echo 12 ms\none\n3 ms\n$ false\n$ echo $?\n1\n```\n"
    with pages.shell() as shell:
        for text, complaints in (
            (right, 0),
            (right.replace("\none\n", "\ntwo\n"), 1),
            (right.replace("\n1\n", "\n0\n"), 1),
            (right.replace("$ echo $?\n1\n", ""), 1),
        ):
            asked = [command for block in pages.blocks(text) for command in block.commands()]
            assert sum(each.wrong() is not None for each in shell.run(asked)) == complaints
