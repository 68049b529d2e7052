"""Each shape that `--json` answers with is what the reference says: no key that is not described, none described that is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from howdah.catalog import parameters
from howdah.catalog.extensions import catalog
from howdah.catalog.messages.matching import explain as explained
from howdah.cli import advise, explain, measure, service, shapes, upkeep, versions
from howdah.core.advice import Sighting, Watched, Who, judge
from howdah.core.aging import Older
from howdah.core.boot import BootSeen
from howdah.core.endpoint import endpoints
from howdah.core.habits import Habit
from howdah.core.instance import Database, Instance, Reach, User
from howdah.core.machine import Quick
from howdah.core.observed import Pair
from howdah.core.operation import Line, Operation
from howdah.core.pace import Asked, Measured, Pace
from howdah.core.programs import Program, Used
from howdah.core.remember import Trashed
from howdah.core.room import Room
from howdah.core.rotation import Authority, Bundle
from howdah.core.wishes import Change
from howdah.phrase import Phrase, say
from howdah.secret import Secret
from howdah.service.caller import Done, Seen

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "json.md").read_text(encoding="utf-8")

WANT = Instance(
    "abcd1234",
    "shop",
    15,
    5432,
    pooled=Reach(("127.0.0.1",), ("db.example.org",), ("10.0.0.0/8",)),
    parameters={"work_mem": "8MB", "ssl": "on"},
    extensions={"pooler": {"pool_mode": "session", "listen_port": "6432"}},
    databases=(Database("shop", "app", "ru-RU"),),
    users=(User("app", Secret("SCRAM-SHA-256$verifier"), ("shop",)),),
)
DONE = Operation(
    7,
    "abcd1234",
    2,
    "params set",
    "ann",
    {"request": "howdah params set"},
    "failed",
    1.0,
    1.5,
    (Line("Reload", say("reload"), say("new files"), 3.0),),
    {"code": "x"},
)
SEEN = Seen(WANT, "down", Quick(True, True, True, {"direct": 12.34, "pooled": None}), ("shared_buffers",), DONE)
USED = Used("pgbouncer", Program("/usr/sbin/pgbouncer", "1.18.0", "pgbouncer", "1.18.0-1+deb12u1"), running=True)
WHO = Who("worker", "app", "shop", "direct")
SEEN_OF_IT = frozenset(
    {Sighting(WHO, Habit("listen", "LISTEN jobs"), "sessions"), Sighting(Who(None, "x", "y"), Habit("load", "LOAD"), "log")}
)
WATCHED = Watched(10.0, 200, frozenset({WHO}), SEEN_OF_IT, "session", carries=False, lists_prepared=False, statements=False)
CHANGED = Done(WANT, DONE, (Change("ssl", "off", "on"),), ("app", Secret("open sesame")), (say("a note"),))


TITLE = Phrase("a clock")


@dataclass(frozen=True)
class Found:
    """What stands in for a diagnosis."""

    id: str = "clock"
    title: Phrase = TITLE
    result: str = "fail"
    evidence: Phrase = TITLE
    fix: Phrase | None = None


AUTHORITY = Authority("…", "ab", 1.0, 2.0)

SHAPES: Mapping[str, Any] = {
    "Instance": shapes.instance(SEEN),
    "Program": versions.shape([USED])[0],
    "Weakness": versions.shape([USED])[0]["weaknesses"][0],
    "Older program": upkeep.older_shape([Older("postgresql", "15.17", "15.18", ("postgres",))], "shop")[0],
    "Service": service.shape(BootSeen(True, False, "howdah.service", ("/etc/systemd/system/howdah.service",)))
    | {"password": "", "removed": []},
    "Room": upkeep.room_shape(Room(1, 2, 3, 4, 5, 6)),
    "Endpoint": shapes.reach(WANT, endpoints(WANT)[0], SEEN.quick.days_left),
    "Change": shapes.change(CHANGED, None),
    "Operation": shapes.operation(DONE),
    "Trashed instance": shapes.trashed(Trashed(WANT, 5.0), 600.0),
    "Parameter": shapes.parameter(parameters.catalog(15)["work_mem"]),
    "Extension": shapes.extension(catalog()["pooler"]),
    "Advice": advise.shape("shop", WATCHED, judge(WATCHED)),
    "Feature in use": advise.shape("shop", WATCHED, judge(WATCHED))["applications"][0]["uses"][0],
    "Explanation": explain.shape(explained("FATAL:  SSL required")[0]),
    "Diagnosis": shapes.diagnosis([Found()]),
    "Authority": shapes.authority(Bundle(Path("/ca.crt"), AUTHORITY, AUTHORITY, "announced")),
    "Bench": measure.shape(Measured(Asked(), [Pace("direct", "reads", [1.0], [2.0])], {"ssl": "on"}, 1.0), "shop"),
    "Certificate": shapes.certificate("direct", Pair("ab", frozenset({"localhost"}), 1.0, 2.0, trusted=True), served=True),
}


def described(section: str) -> dict[str, str]:
    """Return the keys of a section of the page, each with what is said of it."""
    text = re.split(r"^## ", PAGE.split(f"\n## {section}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE)
    return dict(rows)


@pytest.mark.parametrize("section", SHAPES)
def test_the_reference_names_exactly_the_keys(section: str) -> None:
    assert list(SHAPES[section]) == list(described(section))


@pytest.mark.parametrize("section", SHAPES)
def test_the_reference_names_the_keys_of_inner_objects(section: str) -> None:
    free = {
        "parameters",
        "files",
        "error",
        "operation",
        "last_operation",
        "endpoints",
        "weaknesses",
        "uses",
        "settings",
    }  # open objects, and shapes of their own
    for key, value in SHAPES[section].items():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict) and key not in free:
                assert set(inner) <= set(re.findall(r"`(\w+)`", described(section)[key])), key


def test_no_secret_is_in_a_listing() -> None:
    listed = json.dumps([SHAPES[name] for name in SHAPES if name != "Change"])
    assert "$verifier" not in listed and "open sesame" not in listed
    assert shapes.change(CHANGED, None)["password"]["password"] == "open sesame"
    assert "password" not in shapes.change(replace(CHANGED, password=None), None)


def test_every_shape_is_json() -> None:
    for shape in SHAPES.values():
        assert json.loads(json.dumps(shape)) == shape


def test_states() -> None:
    stopped = replace(SEEN, status="stopped", quick=Quick(False, False, False, {}))
    assert shapes.fix(SEEN) == "howdah repair shop" and shapes.fix(stopped) is None
    assert {each["status"] for each in shapes.extensions(stopped)} == {"stopped"}
    gone = replace(SEEN, quick=Quick(True, True, False, {}))
    assert shapes.extensions(gone)[0]["status"] == "down" and shapes.members(gone)[0]["status"] == "running"


def sections() -> Iterator[str]:
    yield from re.findall(r"^## (.+)$", PAGE, re.MULTILINE)


def test_every_link_of_the_page_leads_somewhere() -> None:
    anchors = {section.lower().replace(" ", "-") for section in sections()}
    assert set(re.findall(r"\(#([\w-]+)\)", PAGE)) <= anchors
