"""The command line from outside: pages, refusals, exit codes, and what hostile words do to it. No server is started here."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from tempfile import mkdtemp
from time import sleep

import pytest

from howdah.cli import door
from howdah.cli.pairs import extensions, pairs
from howdah.cli.progress import SLOW_SECONDS, Progress
from howdah.cli.request import Request
from howdah.cli.tree import tree
from howdah.cli.verb import REGISTER, Verb
from howdah.errors import Invalid
from howdah.settings import SETTINGS, home, trash_seconds

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[2]
tree(None)  # fills the register
COMMANDS = sorted(REGISTER)
# Words that somebody types by mistake or on purpose; none is a valid name of anything.
HOSTILE = (
    "",
    "-",
    "--=",
    "=x",
    "%s%n",
    "{name}",
    "a\nb",
    "\x1b[2J",
    "\x00",
    "../../etc/passwd",
    "x" * 9000,
    "\udcff",
    "٩٩",
)


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own that is not there yet, its path short enough for sockets; English, and none of the caller's settings."""
    above = Path(mkdtemp(prefix="c"))
    above.chmod(0o711)  # as root, the servers are other users
    own = above / "h"
    for setting in SETTINGS:
        monkeypatch.delenv(setting.name, raising=False)
    monkeypatch.setenv("HOWDAH_HOME", str(own))
    monkeypatch.setenv("HOWDAH_LANG", "en")
    return own


def howdah(*words: str | bytes, given: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the real program to its end."""
    command = [sys.executable, "-P", "-m", "howdah", *words]
    return subprocess.run(command, input=given, capture_output=True, env={**os.environ, **environment}, timeout=60, check=False)


def last_line(text: str) -> str:
    return text.splitlines()[-1]


# ---------------------------------------------------------------------------------------------------- pages


@pytest.mark.parametrize("words", [(), *COMMANDS, *sorted({words[:1] for words in COMMANDS if len(words) > 1})], ids=" ".join)
def test_every_page_is_as_written_down(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main([*words, "--help"]) == 0
    said = capsys.readouterr().out
    golden = GOLDEN / f"{'-'.join(('howdah', *words))}.txt"
    if os.environ.get("HOWDAH_GOLDEN") == "write":
        golden.write_text(said, encoding="utf-8")
    assert said == golden.read_text(encoding="utf-8")


def test_no_page_is_written_down_of_a_command_that_is_gone() -> None:
    there = {"howdah", *("-".join(("howdah", *words)) for words in COMMANDS), *(f"howdah-{words[0]}" for words in COMMANDS)}
    assert {path.stem for path in GOLDEN.glob("*.txt")} <= there


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_of_itself(words: tuple[str, ...]) -> None:
    assert REGISTER[words].example.startswith(" ".join(("howdah", *words)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_page_is_there_in_russian(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOWDAH_LANG", "ru")
    assert door.main([*words, "--help"]) == 0
    said = capsys.readouterr().out
    assert "Пример:" in said and "Example:" not in said
    assert (REGISTER[words].function.__doc__ or "?").split(".")[0] not in " ".join(said.split())


def test_the_contract_of_commands() -> None:
    contract = """
    create list show start stop restart delete undelete verify connect env psql explain advise operations logs repair doctor quickstart
    params_list params_set params_unset params_catalog extensions_list extensions_add extensions_set extensions_remove extensions_catalog
    endpoints_list endpoints_set databases_list databases_add databases_delete users_list users_add users_delete users_password users_grant
    users_revoke service_install service_status service_remove service_down ca_show members_list members_remove
    ca_rotate ca_switch ca_finish ca_recall certificates_list certificates_renew bench pooler_drain pooler_sessions
    serve auth_users_list auth_users_add auth_users_set auth_users_password auth_users_sign-out auth_users_delete
    audit"""
    shown = {"_".join(words) for words, entry in REGISTER.items() if not entry.hidden}
    assert shown == set(contract.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from howdah import __version__

    assert door.main(["--version"]) == 0
    assert capsys.readouterr().out == f"howdah {__version__}\n"


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("line", "code", "exit_code"),
    [
        ("lst", "usage", 2),
        ("params", "usage", 2),
        ("params sett shop a=b", "usage", 2),
        ("list --bogus", "usage", 2),
        ("show", "usage", 2),
        ("show a b", "usage", 2),
        ("create shop --port", "usage", 2),
        ("create shop --port abc", "usage", 2),
        ("create shop --port 80", "invalid_port", 2),
        ("create .shop", "invalid_name", 2),
        ("explain hello", "unknown_message", 3),
        ("create shop --param ssl", "usage", 2),
        ("create shop --param ssl=on --param SSL=off", "usage", 2),
        ("create shop --param ssl=maybe", "invalid_value", 2),
        ("create shop --extension pooler:", "usage", 2),
        ("create shop --extension pooler:pool_mode=fast", "invalid_value", 2),
        ("create shop --extension nothing", "unknown_extension", 3),
        ("create shop --user app", "incomplete", 2),
        ("create shop --size huge", "unknown_size", 2),
        ("create shop --wait -1", "usage", 2),
        ("create shop --wait nan", "usage", 2),
        ("show nothing", "no_such_instance", 3),
        ("delete nothing --yes", "no_such_instance", 3),
        ("undelete nothing", "not_in_trash", 3),
        ("start nothing", "no_such_instance", 3),
        ("params set nothing ssl=on", "no_such_instance", 3),
        ("params catalog --version 9", "unsupported_version", 5),
        ("endpoints set nothing", "usage", 2),
        ("endpoints set nothing --via other --allow 10.0.0.0/8", "usage", 2),
        ("connect nothing --sslmode prefer", "usage", 2),
        ("connect nothing --via both", "usage", 2),
        ("users grant nothing app", "usage", 2),
        ("logs nothing --source kernel", "usage", 2),
        ("repair", "usage", 2),
        ("repair shop --all", "usage", 2),
    ],
)
def test_a_refusal_has_its_code_and_one_last_line(line: str, code: str, exit_code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main(line.split()) == exit_code
    out, err = capsys.readouterr()
    assert out == "" and re.match(r"error: cannot .*[^.]$", last_line(err)), err
    assert door.main([*line.split(), "--json"]) == exit_code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    said = json.loads(err)
    assert set(said) == {"code", "message", "hint"} and said["code"] == code and said["message"].startswith("cannot ")


@pytest.mark.parametrize("words", [each for each in COMMANDS if each != ("quickstart",)], ids=" ".join)
def test_hostile_words_are_refused_in_one_line(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    for hostile in HOSTILE:
        for line in ([*words, hostile], [*words, "shop", hostile]):
            exit_code = door.main([*line, "--json"] if "--" not in line else ["--json", *line])
            out, err = capsys.readouterr()
            assert exit_code in (0, 2, 3, 5, 6), (line, err)
            assert "Traceback" not in err and '"internal"' not in err
            assert "\x1b" not in err and (exit_code == 0 or (out == "" and err.count("\n") == 1))


def test_the_real_program_refuses_bytes_that_are_no_text() -> None:
    done = howdah("show", b"\xff\xfe")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: cannot read word 2")


def test_json_may_stand_anywhere() -> None:
    for words in (("--json", "show", "nothing"), ("show", "--json", "nothing"), ("show", "nothing", "--json")):
        done = howdah(*words)
        assert done.returncode == 3 and json.loads(done.stderr)["code"] == "no_such_instance"


def test_russian_errors_and_english_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOWDAH_LANG", "ru")
    assert door.main(["lst"]) == 2
    assert capsys.readouterr().err.startswith("ошибка: ")
    assert door.main(["lst", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["message"] == "cannot find command howdah lst"


@pytest.mark.parametrize("named", ["relative/home", "/srv/../x", "/srv/it's", '/srv/"x"', "/srv/a\nb", "/srv/a\tb", "/srv/back\\slash"])
def test_a_home_that_no_file_could_carry_is_refused(named: str) -> None:
    done = howdah("list", "--json", HOWDAH_HOME=named)
    assert done.returncode == 2 and json.loads(done.stderr)["code"] == "invalid_setting"


def test_settings() -> None:
    assert home({"HOWDAH_HOME": "/srv/howdah"}) == Path("/srv/howdah")
    for text in ("soon", "-1", "nan", "inf", "1e99"):
        with pytest.raises(Invalid):
            trash_seconds({"HOWDAH_TRASH": text})


@pytest.mark.parametrize("given", [b"", b"\n", b"a\x00b\n", b"\xff\xfe\n", b"md5" + b"0" * 32 + b"\n", b"a\tb\n", b"x" * 5000])
def test_a_line_that_is_no_password_is_refused(given: bytes) -> None:
    done = howdah("users", "add", "shop", "app", "--password-stdin", "--json", given=given)
    assert done.returncode == 2 and json.loads(done.stderr)["code"] == "invalid_password"


def test_pairs() -> None:
    assert pairs(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    assert extensions(["pooler:a=1,b=2"]) == {"pooler": {"a": "1", "b": "2"}}
    for words in (["a"], ["=b"], ["a=1", "A=2"]):
        with pytest.raises(Invalid):
            pairs(words)
    for words in (["pooler:"], [""], ["pooler", "pooler"], ["pooler:x"]):
        with pytest.raises(Invalid):
            extensions(words)


# ---------------------------------------------------------------------------------------------------- answers


def test_an_empty_list_makes_nothing_but_the_store(place: Path) -> None:
    done = howdah("list")
    assert (done.returncode, done.stdout) == (0, b"") and b"there is no instance" in done.stderr
    done = howdah("list", "--json")
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, [], b"")
    assert {path.name for path in place.glob("*")} <= {"store.sqlite3"}


def test_a_reader_that_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "howdah", "params", "catalog"], stdout=closed, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_is_told_in_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "howdah", "params", "catalog"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"No space left" in done.stderr


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(closing: str) -> None:
    done = subprocess.run(["sh", "-c", f'"$0" -P -m howdah list {closing}', sys.executable], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0 and b"Traceback" not in done.stderr


def test_the_catalogue_is_the_same_bytes_for_the_same_state() -> None:
    first, second = (howdah("params", "catalog", "--version", "15", "--json").stdout for _ in range(2))
    rows = json.loads(first)
    assert first == second and [row["name"] for row in rows] == sorted(row["name"] for row in rows) and len(rows) > 300


def test_search_finds_words_of_names_and_descriptions(capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main(["params", "catalog", "--search", "work_mem", "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} >= {"work_mem", "maintenance_work_mem"}


def test_only_a_terminal_gets_colours() -> None:
    assert b"\x1b" not in howdah("extensions", "catalog").stdout
    shown = on_terminal("howdah.cli.door", 'main(["extensions", "catalog"])')
    assert "\x1b[1mpooler\x1b[0m" in shown
    assert "\x1b" not in on_terminal("howdah.cli.door", 'main(["extensions", "catalog"])', NO_COLOR="1")


def on_terminal(module: str, call: str, typed: str = "", **environment: str) -> str:
    """Run a call with a terminal as its three streams, and return what the terminal showed."""
    ours, theirs = pty.openpty()
    try:
        if typed:
            os.write(ours, typed.encode())
        command = [sys.executable, "-P", "-c", f"from {module} import *; {call}"]
        env = {**os.environ, "TERM": "xterm", **environment}
        subprocess.run(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, timeout=60, check=False)
        os.set_blocking(ours, False)
        return b"".join(iter(lambda: _read(ours), b"")).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return b""


# ---------------------------------------------------------------------------------------------------- questions

ASK = """
from howdah.cli.screen import Screen, streams
from howdah.cli.request import Request
from howdah.core.observed import Session
from howdah.service.caller import Question
from howdah.phrase import say
sessions = tuple(Session("direct", "app", "shop", "psql", "10.0.0.1", str(n)) for n in range(12))
Request(Screen(*streams(json=False), False, str), "x")._confirm(Question(say("this ends sessions"), sessions))
print("agreed")
"""


def asked(typed: str) -> str:
    return on_terminal("builtins", f"exec({ASK!r})", typed)


def test_a_question_names_sessions_and_counts_the_rest() -> None:
    shown = asked("y\n")
    assert shown.count("app@shop (psql, 10.0.0.1)") == 10 and "sessions: 12" in shown and "and 2 more" in shown
    assert shown.rstrip().endswith("agreed")


@pytest.mark.parametrize("typed", ["n\n", "\n", "x\n", "\x04"])
def test_anything_but_yes_is_no(typed: str) -> None:
    assert "agreed" not in asked(typed).splitlines()


def test_without_a_terminal_a_question_is_refused() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", ASK], capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    assert b"needs_yes" in done.stderr or b"cannot go on unasked: this ends sessions; sessions: 12" in done.stderr


OFFER = """
from howdah import compose
from howdah.cli.request import Request
from howdah.cli.screen import Screen, streams
from howdah.cli.service import offer_boot
from howdah.core.boot import BootSeen
seen = BootSeen(True, False, "howdah.service")
compose.boot_seen, compose.install_boot = lambda home: seen, lambda home: print("told systemd")
offer_boot(Request(Screen(*streams(json=False), False, str), "x", yes={yes}))
"""


@pytest.mark.parametrize(("typed", "told"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_to_start_at_boot_is_offered_on_a_terminal(typed: str, told: bool) -> None:
    shown = on_terminal("builtins", f"exec({OFFER.format(yes=False)!r})", typed)
    assert "systemd can start your instances at boot" in shown
    assert ("told systemd" in shown, "howdah.service is installed" in shown, "nothing starts by itself" in shown) == (told, told, not told)


@pytest.mark.parametrize("yes", [True, False])
def test_to_start_at_boot_is_only_mentioned_where_nobody_can_be_asked(yes: bool) -> None:
    command = [sys.executable, "-P", "-c", OFFER.format(yes=yes)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=True)
    assert ("told systemd" in done.stdout, "nothing starts by itself" in done.stderr) == (yes, not yes)


# ---------------------------------------------------------------------------------------------------- the outermost door


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[BaseException]]:
    """Have `start` raise what nobody expected."""

    def install(error: BaseException) -> None:
        def start(request: Request, name: str) -> None:
            """Fail."""
            raise error

        monkeypatch.setitem(REGISTER, ("start",), Verb(("start",), start, "howdah start", changes=True, asks=False, hidden=False))

    yield install  # type: ignore[misc]


def test_an_error_of_ours_is_logged_and_told_in_one_line(failing: object, capsys: pytest.CaptureFixture[str], place: Path) -> None:
    assert callable(failing)
    failing(RuntimeError("the secret reason"))
    assert door.main(["start", "shop", "--json"]) == 1
    out, err = capsys.readouterr()
    log = place / "log" / "howdah.log"
    assert out == "" and err.count("\n") == 1 and json.loads(err)["code"] == "internal"
    assert "the secret reason" in log.read_text() and stat.S_IMODE(log.stat().st_mode) == 0o600


def test_ctrl_c_says_how_to_follow_the_work(failing: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(failing)
    failing(KeyboardInterrupt())
    assert door.main(["start", "shop"]) == 130
    assert "howdah operations shop" in last_line(capsys.readouterr().err)


def test_a_slow_step_is_told_where_there_is_no_terminal() -> None:
    from howdah.phrase import say

    stream = StringIO()
    progress = Progress(stream, str)
    progress.tell(say("a quick step"))
    progress.tell(say("a slow step"))
    deadline = SLOW_SECONDS * 10
    while "slow" not in stream.getvalue() and deadline > 0:
        sleep(0.05)
        deadline -= 0.05
    progress.stop()
    assert stream.getvalue() == "a slow step …\n"


# ---------------------------------------------------------------------------------------------------- start-up


def test_a_read_command_imports_little() -> None:
    """Each of these costs more than everything else together (psycopg 150 ms, pydantic 100, cryptography 80, rich 60, asyncio 40)."""
    program = "import sys; from howdah.cli.door import main; main(['list']); print('\\n'.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    installed = {name.name.split(".")[0] for name in Path(sys.prefix).glob("lib/python*/site-packages/*") if name.suffix in ("", ".py")}
    foreign = {name for name in loaded & installed if not name.startswith("_")} - {"howdah"}
    assert foreign <= {"typer", "click", "annotated_doc", "shellingham", "typing_extensions"}
    assert not loaded & {"asyncio", "unittest", "multiprocessing", "http", "email", "xml", "sqlalchemy", "babel"}
