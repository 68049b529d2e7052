"""The example that each command's --help ends with is run here too, all on one instance; and each command that prose names is one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.docs import pages
from tests.docs.pages import Command

from howdah.cli.tree import tree

# In an order in which each finds what it needs; ends by 0 unless an exit code stands beside it.
EXAMPLES: tuple[tuple[str, int], ...] = (
    ("howdah create shop --extension pooler:pool_mode=session --database shop --user app", 0),
    ("howdah list --json", 0),
    ("howdah show shop", 0),
    ("howdah params set shop ssl=on work_mem=16MB", 0),
    ("howdah params list shop --json", 0),
    ("howdah params unset shop work_mem", 0),
    ("howdah params catalog --search wal", 0),
    ("howdah extensions catalog", 0),
    ("howdah extensions list shop", 0),
    ("howdah extensions set shop pooler default_pool_size=40", 0),
    ("howdah endpoints list shop", 0),
    ("howdah advise shop --for 5", 0),
    ("howdah env shop --direct", 0),
    ("howdah psql shop -- -c 'SELECT 1'", 0),
    ("howdah databases add shop stock --icu-locale ru-RU", 0),
    ("howdah databases list shop", 0),
    ("howdah users add shop report --database shop", 0),
    ("howdah users grant shop report --database stock", 0),
    ("howdah users revoke shop report --database stock", 0),
    ("howdah users list shop", 0),
    ("echo 'correct horse battery staple' > password.txt", 0),
    ("howdah users password shop app --password-stdin < password.txt", 0),
    ("howdah users delete shop report --yes", 0),
    ("howdah databases delete shop stock --yes", 0),
    ("howdah verify shop", 0),
    ("howdah connect shop --client uri --via pooled", 0),
    ("howdah members list shop", 0),
    ("howdah members remove shop MEMBER", 5),
    ("howdah ca show --json", 0),
    ("howdah certificates list shop", 0),
    ("howdah certificates renew shop", 0),
    ("howdah ca rotate", 0),
    ("howdah ca switch --yes", 0),
    ("howdah ca recall", 0),
    ("howdah ca switch --yes", 0),
    ("howdah ca finish --yes", 0),
    ("howdah bench shop --clients 8", 0),
    ("howdah pooler drain shop --for 60 --end", 0),
    ("howdah pooler sessions shop", 0),
    ("howdah auth users add anna --role reader", 0),
    ("howdah auth users set anna --role member", 0),
    ("howdah auth users password anna", 0),
    ("howdah auth users list", 0),
    ("howdah auth users sign-out anna", 0),
    ("howdah auth users delete anna --yes", 0),
    ("howdah audit --about shop", 0),
    ("howdah doctor", 0),
    ("howdah explain 'FATAL:  SSL required'", 0),
    ("howdah operations shop", 0),
    ("howdah restart shop", 0),
    ("howdah extensions remove shop pooler --yes", 0),
    ("howdah extensions add shop pooler pool_mode=session listen_port=6543", 0),
    ("howdah stop shop --yes", 0),
    ("howdah start shop", 0),
    ("howdah service status --json", 0),
    ("howdah service down --yes", 0),
    ("howdah repair shop", 0),
    ("howdah delete shop --yes", 0),
    ("howdah undelete shop", 0),
)
NOT_RUN = {
    "howdah quickstart": "README.md shows it, and so it is run there",
    "howdah endpoints set shop --listen 10.1.0.5 --hostname db.example.org --allow 10.1.0.0/16": "the address is not of this machine",
    "howdah serve": "it goes on until it is ended",
    "howdah service install --serve 127.0.0.1:8779": "it would change how this machine starts; tests/real/test_service.py runs it",
    "howdah service remove": "it would change how this machine starts; tests/real/test_service.py runs it",
    "howdah logs shop --source pooler --follow": "it ends by Ctrl-C only",
}
_INLINE = re.compile(r"`((?:\./)?howdah [^`]+)`")


def commands(group: Any) -> Iterator[Any]:
    """Return every command that people see."""
    for command in group.commands.values():
        if getattr(command, "commands", None):
            yield from commands(command)
        elif not command.hidden:
            yield command


def test_every_example_is_run_or_listed() -> None:
    shown = {command.epilog for command in commands(tree(None))}
    assert shown == {text for text, _ in EXAMPLES if text.startswith("howdah ")} | set(NOT_RUN)


def test_examples_work() -> None:
    with pages.shell() as shell:
        ran = shell.run([Command(text, ()) for text, _ in EXAMPLES])
    wrong = [
        f"$ {each.command.text}\nexit code {each.code}:\n{each.output}"
        for each, (_, code) in zip(ran, EXAMPLES, strict=True)
        if each.code != code
    ]
    assert not wrong, "\n\n".join(wrong)


def known(text: str) -> bool:
    """Tell whether the words of a command line, as far as they are no placeholders, lead to a command with these options."""
    place = tree(None)
    words = shlex.split(text.replace("…", "").replace("|", " ").replace("[", " ").replace("]", " "))[1:]
    if words and words[0].isupper():
        return True
    while words and hasattr(place, "commands"):
        if words[0].startswith("-"):
            break
        if words[0] not in place.commands:
            return False
        place = place.commands[words.pop(0)]
    options = {option for parameter in place.params for option in parameter.opts} | {"--help"}
    return all(word in options for word in words if word.startswith("--"))


def test_what_is_no_command_is_noticed() -> None:
    assert known("howdah params set shop ssl=on --yes") and known("howdah COMMAND --help") and known("howdah list|show NAME")
    assert not known("howdah parameters list shop") and not known("howdah create shop --params ssl=off")


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_commands_in_prose_are_there(page: Path) -> None:
    prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert not [text for text in _INLINE.findall(" ".join(prose.split())) if not known(text)]
