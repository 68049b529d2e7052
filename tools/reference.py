"""Write the pages of docs/reference from the program itself: parameters, extensions, commands, errors, settings, checks,
clients and what was measured of them, and what the servers say.

    python tools/reference.py [--check]

With `--check` nothing is written, and the exit code is 1 when a page is stale. What a page says stands in the catalogue, in a
command's docstring or in a refusal; it is never edited by hand. `json.md` beside them is written by people.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

sys.path.insert(0, str(Path(__file__).parent))  # which python -P leaves out
import disruption
import tuning

if TYPE_CHECKING:
    from howdah.connect import Snippet

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
SOURCE = ROOT / "src" / "howdah"
MADE = "<!-- written by tools/reference.py from the program itself; do not edit -->\n"
EXITS = {"Failed": 1, "Refused": 1, "Invalid": 2, "NotFound": 3, "Conflict": 4, "Unsupported": 5, "Unavailable": 6, "Interrupted": 130}
TITLES = {
    1: "the operation failed",
    2: "wrong usage, or a value that can never be right",
    3: "no such thing",
    4: "right in itself, but not beside what is there now",
    5: "this machine, version or engine cannot do it",
    6: "something that is needed is missing or does not answer",
    130: "Ctrl-C: what was begun goes on by itself",
}
_SHELL_REFUSAL = re.compile(r'refuse (\w+) "((?:[^"\\]|\\.)*)"\s*(?:\\\s*)?"((?:[^"\\]|\\.)*)"')


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table.

    >>> table(("a",), [("x|y",)])
    ['| a |', '|---|', '| x\\\\|y |']
    """
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {' | '.join(row)} |" for row in cells)]


def page(title: str, *parts: Iterable[str] | str) -> str:
    """Return a page with its note of origin."""
    lines = [f"# {title}", "", MADE]
    for part in parts:
        lines += [*([part] if isinstance(part, str) else part), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def code(text: str) -> str:
    """Return a text as code, also where it is empty."""
    return f"`{text}`" if text else "`''`"


# ------------------------------------------------------------------------------------------------ parameters


def parameters() -> str:
    """PostgreSQL's parameters: how many of each version, those that are open, and why the others are not."""
    from howdah.catalog.parameters import MAJORS, catalog

    by_major = {major: catalog(major) for major in MAJORS}
    counts = [
        (str(major), *(str(sum(p.policy.kind == kind for p in known.values())) for kind in ("open", "managed", "refused")), str(len(known)))
        for major, known in by_major.items()
    ]
    return page(
        "Parameters",
        "From the servers' own `pg_settings`. *Open* parameters are yours to set, *managed* ones Howdah sets, *refused* ones nobody does.",
        table(("PostgreSQL", "open", "managed", "refused", "in all"), counts),
        "Set them by `howdah params set NAME K=V`. `howdah params catalog --version MAJOR` has descriptions, and what that version says.",
        "## Open",
        "Type, range and default are those of the newest version that knows the parameter. The unit is that of a number without one. "
        "A [size](#sizes) sets some of them.",
        table(("parameter", "versions", "type", "range", "unit", "default", "applied by"), _open(by_major)),
        "## Managed and refused",
        table(("parameters", "", "why", "instead"), _closed(by_major)),
        "## Sizes",
        "`howdah create NAME --size SIZE` gives a server these, unless you set them; of the newest version.",
        table(*_sizes(MAJORS[-1])),
    )


def _by_name(by_major: Mapping[int, Mapping[str, Any]]) -> dict[str, dict[int, Any]]:
    """Return each parameter as each version that knows it has it."""
    names = sorted({name for known in by_major.values() for name in known})
    return {name: {major: known[name] for major, known in by_major.items() if name in known} for name in names}


def _open(by_major: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for name, known in _by_name(by_major).items():
        first, *_, last = [*known, *known]
        parameter = known[last]
        if parameter.policy.kind == "open":
            versions = str(first) if first == last else f"{first}–{last}"
            default = "" if parameter.default is None else code(parameter.default)
            yield code(name), versions, parameter.type, _range(parameter), parameter.unit or "", default, _applied(known)


def _applied(known: Mapping[int, Any]) -> str:
    """Say how a change comes into force; where versions differ, since which."""
    how = {major: "restart" if parameter.context == "postmaster" else "reload" for major, parameter in known.items()}
    newest = how[max(how)]
    other = [major for major, word in how.items() if word != newest]
    return f"{newest}; {how[other[0]]} up to {max(other)}" if other else newest


def _range(parameter: Any) -> str:
    if parameter.choices:
        return ", ".join(parameter.choices)
    ends = [_number(end) for end in (parameter.minimum, parameter.maximum)]
    return " to ".join(ends) if all(ends) else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e16 else f"{value:g}"


def _closed(by_major: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name, known in _by_name(by_major).items():
        policy = known[max(known)].policy
        if policy.kind != "open":
            key = (policy.kind, str(policy.reason), str(policy.instead) if policy.instead is not None else "")
            groups.setdefault(key, []).append(name)
    for (kind, reason, instead), names in sorted(groups.items()):
        yield ", ".join(map(code, names)), kind, reason, instead


def _sizes(major: int) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    from howdah.catalog.sizes import DEFAULT, SIZES, defaults

    given = {name: defaults(name, major) for name in SIZES}
    heads = ("", *(f"{name} (default)" if name == DEFAULT else name for name in SIZES))
    first: list[tuple[str, ...]] = [("for", *(str(size.sentence) for size in SIZES.values()))]
    return heads, first + [(code(key), *(given[name][key] for name in SIZES)) for key in given[DEFAULT]]


# ------------------------------------------------------------------------------------------------ extensions


def extensions() -> str:
    """What may be added to an instance, with every setting."""
    from howdah.catalog.extensions import catalog

    parts: list[Iterable[str] | str] = ["Add one by `howdah extensions add NAME EXT [K=V…]`, change it by `howdah extensions set`."]
    for name, entry in sorted(catalog().items()):
        parts += [f"## {name}", f"{entry.title}: {entry.description}.", _takes(entry)]
        heads = ("setting", "type", "range", "default", "", "since")
        parts.append(table(heads, [*map(_setting, entry.settings.values()), *map(_brought, entry.parameters.values())]))
    return page("Extensions", *parts)


def _takes(entry: Any) -> str:
    said = []
    if entry.preload:
        said.append(f"To add or remove it takes one restart, for `{entry.preload}` is a preloaded library.")
    if entry.creates:
        said.append("It is created in every database of the instance, also in those made later.")
    if entry.program:
        said.append("A setting marked *takeover* cannot be reloaded: a new generation of the pooler takes over, and no client is dropped.")
    return " ".join(said)


def _setting(setting: Any) -> tuple[str, ...]:
    bounds = ", ".join(setting.choices) if setting.choices else "on, off" if setting.kind == "boolean" else ""
    default = "chosen" if setting.default is None else code(setting.default)
    since = ".".join(map(str, setting.since))
    takes = " *(takeover)*" if setting.swaps else ""
    bounds = bounds or f"{setting.minimum} to {setting.maximum}"
    return code(setting.name), setting.kind, bounds, default, f"{setting.description}{takes}", f"PgBouncer {since}" if since else ""


def _brought(parameter: Any) -> tuple[str, ...]:
    takes = " *(restart)*" if parameter.context == "postmaster" else ""
    return code(parameter.name), parameter.type, _range(parameter), code(parameter.default or ""), f"{parameter.description}{takes}", ""


# ------------------------------------------------------------------------------------------------ commands, settings, checks


def commands() -> str:
    """Every command as its own --help says it."""
    from howdah.cli import manual
    from howdah.cli.tree import tree

    root = tree(None)
    pages = [("howdah", manual.overview(root, "howdah", str)), *_commands(root, "howdah", manual.page)]
    parts = [part for path, text in pages for part in (f"## {path}", ["```text", text, "```"])]
    return page("Commands", "What `--help` says. Every command takes `--json`; its shapes are in [JSON](json.md).", *parts)


def _commands(group: Any, path: str, text: Callable[..., str]) -> Iterator[tuple[str, str]]:
    for name, command in group.commands.items():
        if getattr(command, "commands", None):
            yield from _commands(command, f"{path} {name}", text)
        elif not command.hidden:
            yield f"{path} {name}", text(command, f"{path} {name}", str)


def settings() -> str:
    """Howdah's own settings."""
    from howdah.settings import SETTINGS

    rows = [(code(each.name), each.type, str(each.default), str(each.sentence)) for each in SETTINGS]
    return page(
        "Settings",
        "Howdah's own settings are environment variables. What PostgreSQL and PgBouncer are told are parameters of an instance, "
        "and settings of its pooler.",
        table(("variable", "type", "default", ""), rows),
        "`NO_COLOR` switches colours off, as do `TERM=dumb` and an output that is no terminal. `PG*` variables, service files and "
        "passfiles of your own do not reach Howdah's connections.",
    )


def checks() -> str:
    """What `verify` looks at."""
    from howdah.verify.checks import checks as known

    rows = [(code(each.id), each.hop, str(each.title), each.severity) for each in known()]
    return page(
        "Checks",
        "What `howdah verify NAME` looks at. *both* is looked at on each hop. An instance is proven when no check failed.",
        table(("check", "hop", "what holds", "severity"), rows),
    )


# ------------------------------------------------------------------------------------------------ errors


@dataclass(frozen=True, order=True)
class Told:
    """One refusal as it stands in the source."""

    exit: int
    code: str
    message: str
    hint: str


def errors() -> str:
    """Every refusal that stands in the source, by exit code."""
    # What verify cannot look at becomes a finding, never an error
    sources = [path for path in sorted(SOURCE.rglob("*.py")) if "verify" not in path.parts]
    found = {told for path in sources for told in refusals(path.read_text())} | set(_launcher())
    parts: list[Iterable[str] | str] = [
        "An error is the last line on standard error; with `--json` it is an object `{code, message, hint}`. Codes are stable. Words in "
        "braces or after `$` stand for values; `…` for what a server or the system said.",
        table(("exit code", ""), [("0", "done"), *((str(key), title) for key, title in TITLES.items())]),
    ]
    for number, title in TITLES.items():
        rows = [(code(told.code), told.message, told.hint) for told in sorted(found) if told.exit == number]
        if rows:
            parts += [f"## {number}: {title}", table(("code", "message", "what to do"), rows)]
    return page("Errors", *parts)


def refusals(text: str) -> Iterator[Told]:
    """Return the refusals that a module makes.

    >>> list(refusals('raise NotFound("gone", say("cannot find {name}", name=n), say("look"))'))
    [Told(exit=3, code='gone', message='cannot find {name}', hint='look')]
    """
    tree = ast.parse(text)
    scopes = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)]
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in EXITS and call.args):
            continue
        scope = next((each for each in reversed(scopes) if call in ast.walk(each)), tree)
        words = [_words(argument, scope) for argument in (*call.args[1:3], *(key.value for key in call.keywords))]
        for name in _codes(call.args[0]):
            yield Told(EXITS[call.func.id], name, *(*words, "", "")[:2])


def _codes(node: ast.expr) -> list[str]:
    """Return the codes that a first argument may be; one that is passed on from elsewhere stands there already."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):  # the policy's kind
        return [f"{kind}{_tail(node)}" for kind in ("managed", "refused")]
    return []


def _tail(node: ast.JoinedStr) -> str:
    return "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))


def _words(node: ast.expr, scope: ast.AST) -> str:
    """Return the sentence that an argument is: said there, or assigned to a name in the same function."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
        first = node.args[0]
        return str(first.value) if isinstance(first, ast.Constant) else "…"
    if isinstance(node, ast.IfExp):
        either = dict.fromkeys((_words(node.body, scope), _words(node.orelse, scope)))
        return ", or: ".join(each for each in either if each)
    if isinstance(node, ast.Name):
        said = [_words(value, scope) for value in _assigned(node.id, scope) if not isinstance(value, ast.Name)]
        return ", or: ".join(dict.fromkeys(each for each in said if each)) or "…"
    return "" if isinstance(node, ast.Constant) else "…"


def _assigned(name: str, scope: ast.AST) -> Iterator[ast.expr]:
    for each in ast.walk(scope):
        if isinstance(each, ast.Assign) and any(isinstance(target, ast.Name) and target.id == name for target in each.targets):
            yield each.value


def _launcher() -> Iterator[Told]:
    """Return what the clone's launcher refuses before any Python runs."""
    for name, message, hint in _SHELL_REFUSAL.findall((ROOT / "tools" / "environment.sh").read_text()):
        yield Told(6, name, message, hint)


# ------------------------------------------------------------------------------------------------ what servers say

# What no edge says and only this page needs, in both languages
_MESSAGES_PAGE: Mapping[str, tuple[str, str, tuple[str, ...], str, Mapping[str, str]]] = {
    "en": (
        "What the servers say",
        "What PostgreSQL, PgBouncer, its keeper and drivers say, why, and what to do; `howdah explain TEXT` looks it up. Each message was "
        "given by real servers and drivers, and is again whenever the tests run. `…` stands for what changes; *in* names the versions that "
        "say it in these words, where others do not. "
        "`NAME` is the instance. [По-русски](server-messages-ru.md). What Howdah itself says are its own [errors](errors.md).",
        ("message", "why", "what to do"),
        "in",
        {
            "client": "What a client is told",
            "driver": "What drivers say in their own words",
            "start": "Why a server does not start, or does not load its files",
            "log": "What stands in the logs",
        },
    ),
    "ru": (
        "Что говорят серверы",
        "Что говорят PostgreSQL, PgBouncer, его сторож и драйверы, почему и что делать; ищет в этой таблице `howdah explain ТЕКСТ`. Каждое "
        "сообщение получено от настоящих серверов и драйверов, и тесты получают его снова. "
        "`…` — то, что меняется; *в* — версии, которые говорят именно так, если другие говорят иначе. `NAME` — "
        "инстанс. [In English](server-messages.md). То, что говорит сам Howdah, — его собственные [ошибки](errors.md).",
        ("сообщение", "почему", "что делать"),
        "в",
        {
            "client": "Что говорят клиенту",
            "driver": "Что драйверы говорят от себя",
            "start": "Почему сервер не запускается или не перечитывает файлы",
            "log": "Что стоит в журналах",
        },
    ),
}


def server_messages(language: str = "en") -> str:
    """What PostgreSQL, PgBouncer and drivers say, why, and what to do, in one language."""
    from howdah.catalog.messages import BY_PLACE
    from howdah.language import translation

    speak = translation(language)
    title, introduction, heads, seen, places = _MESSAGES_PAGE[language]
    parts: list[Iterable[str] | str] = [introduction]
    for place, messages in BY_PLACE.items():
        parts.append(f"## {places[place]}")
        for origin in dict.fromkeys(message.origin for message in messages):
            rows = [
                (
                    code(message.words) + (f" ({seen} {', '.join(message.versions)})" if message.versions else ""),
                    message.cause.translated(speak),
                    message.cure.translated(speak),
                )
                for message in messages
                if message.origin == origin
            ]
            parts += [f"### {_SPEAKERS[language].get(origin, origin)}", table(heads, rows)]
    return page(title, *parts)


_SPEAKERS: Mapping[str, Mapping[str, str]] = {"en": {"keeper": "PgBouncer's keeper"}, "ru": {"keeper": "Сторож PgBouncer"}}


# ------------------------------------------------------------------------------------------------ clients

_CLIENTS = """What `howdah connect NAME --client CLIENT` writes, for either hop and each pool mode. Each is executed, as printed, by
the tests, with its own driver against real servers; these are the results, with the versions that gave them. Run
`./test --all` for all of them; `python tools/drivers.py` says which drivers are here. How to use one: [Connect an
application](../how-to/connect-an-application.md). .NET's program is written by Npgsql's own documents and was never run: Debian has no .NET
SDK, so that the tests skip it and say so, and `howdah explain` knows none of Npgsql's own words."""
_MATRIX = """With `--sslmode verify-full`, on each of three hops: direct, and through the pooler in session and in transaction mode.
*Good CA*: the server is the one that the CA certified. *Foreign CA*: another authority certified it. *Wrong host name*:
its certificate is for another name. *Server in clear*: it speaks no TLS, and would serve whoever asks without. A word
alone holds on all three hops. *Encrypted*: the program said so, PostgreSQL saw it so, and the pooler logged it so; where a
server in clear is *refused*, no login reached it. The last column is who says it in the program on the pooled hop: *the
driver* of its own socket, or *a promise* where the driver cannot be asked and refuses to go on otherwise
([why](../adr/0020-who-says-that-it-is-encrypted.md))."""
_REQUIRE = """With `--sslmode require`, on the same three hops: who answers is not verified, and a server in clear is refused."""
_TRANSACTION = """In transaction mode a server connection is a client's until its transaction ends. Two clients take turns, with the
settings of their snippets. *Works*; *breaks*: an error; *left to others*: what one client did is there for the next,
and may be gone for itself; *deaf*: no notification comes; *not exclusive*: both get the lock; *none*: the driver,
without more packages, has no such thing. What stands after a semicolon, in italics, holds where PgBouncer carries
named statements (1.22 or newer, with `max_prepared_statements` above 0)."""
_ADVICE = """So migrations, `LISTEN`, `SET` outside a transaction, advisory locks of a session, temporary tables that outlive a
transaction, and cursors `WITH HOLD` are for the direct endpoint: `howdah connect NAME --client CLIENT --via direct`.
Within one transaction all of them hold (`SET LOCAL`, `pg_advisory_xact_lock`, `ON COMMIT DROP`). A cancellation by
TLS can make PgBouncer crash from 1.18 on, until 1.19.1 ([#846](https://github.com/pgbouncer/pgbouncer/pull/846)) and
1.21 ([#928](https://github.com/pgbouncer/pgbouncer/pull/928)): the keeper starts it again, and its clients reconnect.
psqlODBC 13 breaks where the pooler carries named statements, for it prepares a name that it has used before
(*prepared statement name is already in use*, 1.24 and 1.26 alike), so its snippet says `UseServerSidePrepare=0`, and
the parameters go into the statement. PDO ends its named statements by `DEALLOCATE`, which no pooler carries either;
its snippet disables them. asyncpg prepares and runs in two round trips: without carried statements every query has to
be within a transaction, as in its snippet."""
SITUATIONS = ("good CA", "foreign CA", "wrong host name", "server in clear")


def clients() -> str:
    """Every client, what it needs, and what was measured of it."""
    everything = measured()
    return page(
        "Clients",
        _CLIENTS.replace("\n", " "),
        table(("client", "is for", "needs", "measured with"), [_client(name, found) for name, found in everything.items()]),
        "## Connections",
        _MATRIX.replace("\n", " "),
        table(
            ("client", *SITUATIONS, "who says so"),
            [(code(name), *_outcomes(found, "verify-full"), _witness(name)) for name, found in everything.items()],
        ),
        _REQUIRE.replace("\n", " "),
        table(
            ("client", "good CA", "wrong host name", "server in clear"),
            [(code(name), *(each for each in _outcomes(found, "require") if each != "")) for name, found in everything.items()],
        ),
        *_in_transaction_mode(everything),
    )


def measured() -> dict[str, Any]:
    """Return what the tests measured, by client; a client that was not says why."""
    found: dict[str, Any] = json.loads((ROOT / "tests" / "real" / "clients.json").read_text())
    return found


def _client(name: str, found: Any) -> tuple[str, ...]:
    made = _made(name, "direct")
    return code(name), str(made.title), ", ".join(map(code, made.needs)), found.get("by", f"not measured: {found.get('not', '')}")


def _made(name: str, kind: Literal["direct", "pooled"]) -> Snippet:
    from howdah.connect import Target, snippet
    from howdah.core.endpoint import Endpoint

    mode = "session" if kind == "pooled" else None
    endpoint = Endpoint(kind, "localhost", 5432, True, ())
    return snippet(name, Target(endpoint, "shop", "app", "verify-full", Path("/ca.crt"), None, mode, "shop", False))


def _witness(name: str) -> str:
    """Return who says in a pooled program that its connection is encrypted; a text that is no program says nothing."""
    made = _made(name, "pooled")
    text = "".join((made.text, *made.files.values()))
    return "a promise" if "refuses to go on otherwise" in text else "the driver" if "as this client sees it" in text else "–"


def _outcomes(found: Any, sslmode: str) -> Iterator[str]:
    """Return what came of each situation: one word where all hops agree."""
    for situation in SITUATIONS:
        said = {
            key.split(", ")[0]: outcome
            for key, outcome in found.get("connections", {}).items()
            if key.endswith(f", {sslmode}, {situation}")
        }
        if len(set(said.values())) > 1:
            yield ", ".join(f"{hop}: {outcome}" for hop, outcome in said.items())
        elif said or sslmode == "verify-full" or situation != "foreign CA":
            yield next(iter(said.values()), "not measured")


def _in_transaction_mode(everything: Mapping[str, Any]) -> Iterator[Iterable[str] | str]:
    """Return what was measured of each feature in transaction mode, on a pooler that carries named statements and on one that does not."""
    rows = {name: (found["transaction"], found["transaction, carried"]) for name, found in everything.items() if "transaction" in found}
    features = list(next(iter(rows.values()))[0])
    yield "## Transaction mode"
    yield " ".join(_TRANSACTION.split())
    yield table(("", *map(code, rows)), [(each, *(_both(*(kind[each] for kind in kinds)) for kinds in rows.values())) for each in features])
    yield " ".join(_ADVICE.split())


def _both(plain: str, carried: str) -> str:
    return plain if plain == carried else f"{plain}; *{carried}*"


# ------------------------------------------------------------------------------------------------ all of them


def disruptions() -> str:
    """Return the page of what happens to clients, from what was measured."""
    return page(disruption.TITLE, *disruption.page(table))


PAGES: Mapping[str, Callable[[], str]] = {
    "../explanation/what-happens-to-my-clients.md": disruptions,
    "../how-to/tune-the-pooler.md": tuning.page,
    "parameters.md": parameters,
    "extensions.md": extensions,
    "commands.md": commands,
    "settings.md": settings,
    "checks.md": checks,
    "clients.md": clients,
    "errors.md": errors,
    "server-messages.md": server_messages,
    "server-messages-ru.md": partial(server_messages, "ru"),
}


def stale() -> list[str]:
    """Return the names of the pages that are not as the program is."""
    return [name for name, make in PAGES.items() if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != make()]


def main(argv: Sequence[str] | None = None) -> int:
    """Write every page, or with --check tell which ones are stale."""
    parser = argparse.ArgumentParser(description="Write docs/reference from the program itself.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when a page is stale")
    asked = parser.parse_args(argv)
    if asked.check:
        for name in (old := stale()):
            print(f"stale: docs/reference/{name}; run tools/reference.py", file=sys.stderr)
        return 1 if old else 0
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make())
    return 0


if __name__ == "__main__":
    sys.exit(main())
