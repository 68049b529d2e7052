"""Who may enter the console: sessions that end, tries that are counted, a log that nobody can deface; on real files and real argon2."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from howdah.core.people import IDLE_SECONDS, SESSION_SECONDS, TRIES_SECONDS, Account
from howdah.errors import Conflict, Invalid, Unavailable
from howdah.host.passwords import Argon2
from howdah.secret import Secret
from howdah.service.people import People
from howdah.store.people import open_people, people_path

RIGHT, WRONG = Secret("correct horse battery"), Secret("wrong horse battery")


class Clock:
    """The time, as a test has it."""

    def __init__(self) -> None:
        self.time = time.time()

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def people(tmp_path: Path, clock: Clock) -> Iterator[People]:
    made = People(open_people(tmp_path / "home"), Argon2(), clock)
    assert made.begin(RIGHT) is None and made.begin(None) is None, "the first start alone makes an account"
    made.add("anna", "member", RIGHT)
    yield made
    made.register.close()


def enter(people: People, name: str = "anna", address: str = "192.0.2.1") -> Secret:
    return people.sign_in(name, RIGHT, address, "a browser")


def test_a_session_ends_by_itself_used_or_not(people: People, clock: Clock) -> None:
    idle, used = enter(people), enter(people)
    begun = clock.time
    while clock.time < begun + SESSION_SECONDS - 1800:
        clock.time += 1500
        assert people.visitor(used) is not None
    assert people.visitor(idle) is None, "it was not used for an hour"
    clock.time = begun + SESSION_SECONDS + 1
    assert people.visitor(used) is None
    third = enter(people)
    clock.time += IDLE_SECONDS - 60
    assert people.visitor(third, quiet=True) is not None, "a page that follows by itself is let in"
    clock.time += 120
    assert people.visitor(third) is None, "and keeps no session awake"


def test_sessions_and_tokens_can_be_taken_away(people: People) -> None:
    one, other = enter(people), enter(people)
    visitor = people.visitor(one)
    assert visitor is not None and len(people.entries(visitor)) == 2
    token = people.add_token(visitor.account, "prometheus", "192.0.2.1")
    people.sign_out(visitor)
    assert people.visitor(one) is None and people.visitor(other) is not None
    people.set_password("anna", RIGHT)
    assert people.visitor(other) is None and people.visitor(token, "token") is not None
    assert people.visitor(token) is None, "a token is no session"
    third = enter(people)
    assert people.end_all("anna") == 2
    assert people.visitor(third) is None and people.visitor(token, "token") is None
    last = enter(people)
    people.set_role("anna", "reader")
    seen = people.visitor(last)
    assert seen is not None and seen.account.role == "reader", "a role counts from the next request on"
    people.delete("anna")
    assert people.visitor(last) is None


def test_one_s_own_password_is_changed_by_who_knows_it(people: People, clock: Clock) -> None:
    own, other = enter(people), enter(people)
    visitor = people.visitor(own)
    assert visitor is not None
    for _ in range(5):
        with pytest.raises(Invalid, match="the present one is another"):
            people.change_own_password(visitor, WRONG, RIGHT)
    with pytest.raises(Unavailable, match="too many failures"):
        people.change_own_password(visitor, RIGHT, RIGHT)
    clock.time += TRIES_SECONDS + 1
    people.change_own_password(visitor, RIGHT, Secret("another horse battery"))
    assert people.visitor(own) is not None and people.visitor(other) is None


def test_guesses_are_counted_for_a_name_and_for_an_address(people: People, clock: Clock) -> None:
    def guess(name: str, address: str) -> None:
        people.sign_in(name, WRONG, address, "a program")

    for _ in range(5):
        with pytest.raises(Invalid):
            guess("anna", "192.0.2.1")
    with pytest.raises(Unavailable, match="too many failures"):
        enter(people)
    assert people.visitor(enter(people, address="192.0.2.9")) is not None, "from elsewhere she may"
    for number in range(15):
        with pytest.raises(Invalid):
            guess(f"somebody{number}", "192.0.2.1")
    with pytest.raises(Unavailable):
        enter(people, "admin")
    clock.time += TRIES_SECONDS + 1
    enter(people), enter(people, "admin")
    outcomes = [(deed.account, deed.outcome) for deed in people.deeds(100)]
    assert outcomes.count(("anna", "wrong_password")) == 5 and ("anna", "too_many_tries") in outcomes


def test_guesses_at_the_same_time_are_all_counted(people: People, clock: Clock, tmp_path: Path) -> None:
    together = threading.Barrier(12)

    def guess(_: int) -> str:
        mine = People(open_people(tmp_path / "home"), Argon2(), clock)  # as each worker of the console has its own
        try:
            together.wait(30)
            mine.sign_in("anna", WRONG, "192.0.2.1", "a program")
        except (Invalid, Unavailable) as refusal:
            return refusal.code
        finally:
            mine.register.close()
        return "in"

    with ThreadPoolExecutor(12) as guessers:
        told = Counter(guessers.map(guess, range(12)))
    assert told == {"wrong_password": 5, "too_many_tries": 7}


def test_who_knows_the_password_uses_up_no_tries(people: People) -> None:
    for _ in range(30):
        enter(people)


def test_somebody_stays_admin(people: People) -> None:
    for act in (lambda: people.delete("admin"), lambda: people.set_role("admin", "member")):
        with pytest.raises(Conflict, match="nobody else is admin"):
            act()
    people.set_role("anna", "admin")
    people.delete("admin")


def test_of_two_first_starts_at_once_one_makes_the_account(tmp_path: Path) -> None:
    homes = [open_people(tmp_path / "home") for _ in range(2)]
    first, second = (Account("admin", "admin", Argon2().digest(Secret(f"password of {number}")), since=1.0) for number in range(2))
    assert [homes[0].put_first(first), homes[1].put_first(second)] == [True, False]
    assert homes[1].account("admin") == first
    for each in homes:
        each.close()


def test_the_log_and_the_file_give_nothing_away(people: People, tmp_path: Path) -> None:
    carried = enter(people)
    with pytest.raises(Invalid):
        people.sign_in("\x1b[2J\n<script>", WRONG, "192.0.2.1", "a\x1b[2Jb")
    assert people.deeds(1)[0].account == "\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}<script>"
    for path in people_path(tmp_path / "home").parent.glob("people.sqlite3*"):
        assert path.stat().st_mode & 0o777 == 0o600
        content = path.read_bytes()
        assert RIGHT.reveal().encode() not in content and carried.reveal().encode() not in content
    assert b"$argon2id$" in b"".join(path.read_bytes() for path in (tmp_path / "home").glob("people.sqlite3*"))
