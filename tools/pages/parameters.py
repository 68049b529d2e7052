"""The page of PostgreSQL's parameters, from the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pages.markdown import code, page, table


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
            yield code(name), versions, parameter.type, permitted(parameter), parameter.unit or "", default, _applied(known)


def _applied(known: Mapping[int, Any]) -> str:
    """Say how a change comes into force; where versions differ, since which."""
    how = {major: "restart" if parameter.context == "postmaster" else "reload" for major, parameter in known.items()}
    newest = how[max(how)]
    other = [major for major, word in how.items() if word != newest]
    return f"{newest}; {how[other[0]]} up to {max(other)}" if other else newest


def permitted(parameter: Any) -> str:
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
