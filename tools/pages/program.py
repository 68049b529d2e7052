"""The pages of extensions, commands, settings and checks, each from where the program keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pages.markdown import code, page, table
from pages.parameters import permitted


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
    return code(parameter.name), parameter.type, permitted(parameter), code(parameter.default or ""), f"{parameter.description}{takes}", ""


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
