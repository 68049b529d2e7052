"""What is wrong with a request that somebody is still typing: each field by itself, then the whole. Nothing is made or remembered.

A value is judged by the catalog and then by PostgreSQL's own program, so that a person reads its words before anything is saved. What only
a running server could tell (a tablespace that is not there) is left to the change itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from howdah.catalog.extensions import extension
from howdah.core import wishes
from howdah.core.instance import Instance
from howdah.core.wishes import Creation
from howdah.errors import Invalid, Refusal
from howdah.phrase import say
from howdah.service.caller import Caller
from howdah.service.verbs import Service

WHOLE = ""  # what no field by itself is to blame for
_QUIET = Caller("", "", lambda _: None, lambda _: None)

Faults = dict[str, Refusal]


def told(check: Callable[[], object]) -> Refusal | None:
    """Return what a check refuses, None where it refuses nothing."""
    try:
        check()
    except Refusal as refusal:
        return refusal
    return None


def of_parameters(service: Service, name: str, given: Mapping[str, str], unset: Sequence[str] = ()) -> Faults:
    """Return what is wrong with values for parameters of an instance."""
    want = service.store.find(name)
    found = of_values(service, want, given)
    whole = None if found else told(lambda: wishes.with_parameters(want, given, unset, service.facts(), restart=True))
    return found if whole is None else {WHOLE: whole}


def of_values(service: Service, want: Instance, given: Mapping[str, str]) -> Faults:
    """Return what is wrong with each value by itself."""
    return _each(given, partial(_value, service, want))


def _each(given: Mapping[str, str], check: Callable[[str, str], object]) -> Faults:
    found = {name: told(partial(check, name, text)) for name, text in given.items()}
    return {name: refusal for name, refusal in found.items() if refusal is not None}


def _value(service: Service, want: Instance, name: str, text: str) -> None:
    for key, value in wishes.checked_parameters(want, {name: text}).items():
        if words := service.host.value_fault(want.version, key, value):
            raise Invalid("refused_by_postgres", say("PostgreSQL refuses this: {words}", words=words))


def of_extension(service: Service, name: str, extension_name: str, given: Mapping[str, str]) -> Faults:
    """Return what is wrong with settings of an extension that is there, or that would be added."""
    entry, want = extension(extension_name), service.store.find(name)
    found = _each(given, lambda key, text: entry.parse({key: text}))
    whole = None if found else told(lambda: _extended(service, want, extension_name, given))
    return found if whole is None else {WHOLE: whole}


def _extended(service: Service, want: Instance, name: str, given: Mapping[str, str]) -> None:
    facts = service.facts()
    if name in want.extensions:
        wishes.with_extension_settings(want, name, given, facts)
    else:
        wishes.with_extension(want, name, given, facts, service.claimed_port(want.pooled.listen, name, given))


def of_creation(service: Service, request: Creation) -> Refusal | None:
    """Return what a request for a new instance would be refused for, None where it would be accepted."""
    return told(lambda: _created(service, request.checked()))


def _created(service: Service, request: Creation) -> None:
    there = service.known(request.name)
    if there is not None:
        service.same_wish(request, there)
    else:
        service.conceive(request, _QUIET)


def of_first_values(service: Service, version: int | None, given: Mapping[str, str]) -> Faults:
    """Return what is wrong with values for parameters of an instance that is not there yet."""
    return of_values(service, service.conceive(Creation("x", version=version), _QUIET), given)
