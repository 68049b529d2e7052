"""TLS goes on and off by reload: no server is restarted, no pooled client is dropped, and who is still in plaintext is counted, named and,
when that was agreed to, ended. Once it is on, nobody comes in without it.
"""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any, NamedTuple

import psycopg
import pytest
from tests.real.instances import DATABASE, PASSWORD, USER, NotAgreed, Place, Voice, asks, place, prove, scalar
from tests.real.middlebox import SSL_REQUEST

from howdah import wire
from howdah.core.instance import HOPS, Hop
from howdah.host import accounts, admin
from howdah.host.process import wait_until


def test_off_and_on_by_reload_and_a_pooled_client_stays(here: Place) -> None:
    before = here.postmaster()
    with here.login() as kept:
        backend = scalar(kept, "SELECT pg_backend_pid()")
        for _ in range(2):
            done = here.set({"ssl": "off"})
            assert [(change.old, change.new, change.how) for change in done.changes] == [("on", "off", "reload")]
            assert scalar(kept, "SELECT 1") == 1
            prove(here)
            for hop in HOPS:
                assert "not support SSL" in here.refused(hop, sslmode="require") or hop == "pooled"
            here.set({"ssl": "on"})
            assert scalar(kept, "SELECT pg_backend_pid()") == backend, "the same session, on the same server connection"
            prove(here)
    assert here.postmaster() == before


def test_who_was_told_that_there_is_no_tls_still_gets_in_plainly(here: Place) -> None:
    """libpq's `prefer` asks for TLS, hears no, and begins in plaintext: the change may come between the two."""
    here.set({"ssl": "off"})
    port, answers = here.want().hop_port("pooled"), list[bytes]()
    assert port is not None
    body = struct.pack("!I", 196608) + f"user\0{USER}\0database\0{DATABASE}\0\0".encode()
    slow = _ask(port)
    with slow.connection:
        assert slow.answer == b"N"

        def begin_late() -> None:
            wait_until(lambda: _told_at(port) == b"S", 10)
            slow.connection.sendall(struct.pack("!I", len(body) + 4) + body)
            answers.append(slow.connection.recv(1))

        late = threading.Thread(target=begin_late)
        late.start()
        try:
            here.set({"ssl": "on"})
        finally:
            late.join()
    assert answers == [b"R"]  # to prove who he is, and no error
    assert "SSL required" in here.refused("pooled", sslmode="disable")


class _Killed(BaseException):
    """What no code of ours catches, as nothing catches `kill -9`."""


def test_who_dies_while_both_ways_are_open_leaves_them_to_the_next_pass(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    here.set({"ssl": "off"})

    def die(*_: object) -> None:
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(admin, "await_logins", die)
        with pytest.raises(_Killed):
            here.set({"ssl": "on"})
    port = here.want().hop_port("pooled")
    assert port is not None
    assert _told_at(port) == b"S"
    with here.login("pooled", sslmode="disable") as plain:
        assert scalar(plain, "SELECT 1") == 1, "both ways"
    here.service.repair("shop", asks("repair"))
    assert "SSL required" in here.refused("pooled", sslmode="disable")
    again = here.service.repair("shop", asks("repair")).operation
    assert again is not None
    assert not again.story, "nothing is left to do"


class _Asked(NamedTuple):
    connection: socket.socket
    answer: bytes


def _ask(port: int) -> _Asked:
    """Ask for TLS as a client of PostgreSQL does, and hear the answer."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(struct.pack("!II", 8, SSL_REQUEST))
    return _Asked(connection, connection.recv(1))


def _told_at(port: int) -> bytes:
    asked = _ask(port)
    asked.connection.close()
    return asked.answer


@pytest.mark.parametrize("hop", HOPS)
def test_plaintext_is_refused_for_being_plaintext(here: Place, hop: Hop) -> None:
    port = here.want().hop_port(hop)
    assert port is not None
    knock = wire.knock("127.0.0.1", port)
    assert (knock.answers, knock.plaintext_refused) == (True, True)
    words = here.refused(hop, sslmode="disable")
    assert "SSL required" in words if hop == "pooled" else "no encryption" in words
    assert wire.tls_version_accepted("127.0.0.1", port, "TLSv1") is False
    assert wire.tls_version_accepted("127.0.0.1", port, "TLSv1.1") is False


@pytest.mark.parametrize("hop", HOPS)
def test_the_certificate_is_ours_and_no_other_authority_will_do(here: Place, hop: Hop) -> None:
    with here.login(hop, sslmode="verify-full", host="localhost", hostaddr="127.0.0.1") as session:
        assert session.pgconn.ssl_in_use
    with place() as other:
        foreign = str(other.host.authority().file)
        assert "certificate verify failed" in here.refused(hop, sslrootcert=foreign)
    assert "does not match" in here.refused(hop, host="db.example.com", hostaddr="127.0.0.1")


def test_a_session_in_plaintext_is_named_and_ended_when_agreed(here: Place) -> None:
    here.set({"ssl": "off"})
    plain: dict[Hop, psycopg.Connection[Any]] = {hop: here.login(hop, application_name=f"plain-{hop}") for hop in HOPS}
    try:
        for session in plain.values():
            assert scalar(session, "SELECT 1") == 1
        no = Voice(agrees=False)
        with pytest.raises(NotAgreed):
            here.service.set_parameters("shop", {"ssl": "on"}, [], no.caller("params set"))
        assert {session.hop for session in no.questions[0].sessions} == {"direct", "pooled"}
        assert all("plain-" in str(session) for session in no.questions[0].sessions)
        assert not here.want().tls, "nothing was changed"
        for session in plain.values():
            assert scalar(session, "SELECT 2") == 2
        here.set({"ssl": "on"})
        for session in plain.values():
            with pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 3")
        prove(here)
        seen = here.seen()
        assert seen.server.plaintext == ()
        assert all(each.plaintext == () for each in seen.pooler)
    finally:
        for session in plain.values():
            session.close()


def test_sessions_in_plaintext_may_stay_until_they_leave(here: Place) -> None:
    here.set({"ssl": "off"})
    with here.login("direct") as direct, here.login("pooled") as pooled:
        for session in (direct, pooled):
            assert scalar(session, "SELECT 1") == 1
        done = here.service.set_parameters("shop", {"ssl": "on"}, [], Voice(agrees=False).caller("params set"), keep_plaintext=True)
        assert "still open in plaintext: 2" in " ".join(map(str, done.notes))
        assert "SSL required" in here.refused("pooled", sslmode="disable")
        assert here.repair() == (), "it is as it was asked for"
        for session in (direct, pooled):
            assert scalar(session, "SELECT 2") == 2
        ended = here.service.set_parameters("shop", {"ssl": "on"}, [], asks("params set")).operation
        assert ended is not None
        assert ended.ended >= 1
        for session in (direct, pooled):
            with pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 3")
    prove(here)


def test_where_one_client_cannot_be_ended_the_encrypted_ones_stay(here: Place) -> None:
    """Before 1.24 the plaintext session is ended with its generation; who came over TLS is in that one, too, unless he came later."""
    here.set({"ssl": "off"})
    plain = here.login("pooled")
    scalar(plain, "SELECT 1")
    here.set({"ssl": "on"})
    with here.login("pooled") as later:
        assert scalar(later, "SELECT 1") == 1
        prove(here)
        assert scalar(later, "SELECT 2") == 2
    plain.close()


def test_a_renewed_certificate_is_served_by_reload(here: Place) -> None:
    before = here.postmaster()
    served = {hop: here.seen().wire[hop].serial for hop in HOPS}
    with here.login() as kept:
        here.service.set_reach("shop", list(HOPS), [], ["renewed.example.org"], [], asks("endpoints set"))
        assert scalar(kept, "SELECT 1") == 1
    assert here.postmaster() == before
    for hop in HOPS:
        assert here.seen().wire[hop].serial != served[hop]
        with here.login(hop, host="renewed.example.org", hostaddr="127.0.0.1") as session:
            assert scalar(session, "SELECT 1") == 1
    prove(here)


def test_a_new_instance_can_begin_without_tls_and_says_so() -> None:
    with place() as here:
        here.create("plain", parameters={"ssl": "off"})
        prove(here, "plain")
        assert all(endpoint.tls is False for endpoint in here.service.endpoints("plain"))
        here.set({"ssl": "on"}, name="plain")
        prove(here, "plain")


def test_the_keys_are_for_their_servers_only(here: Place) -> None:
    layout = here.layout()
    for hop in HOPS:
        key = next(layout.tls(hop).glob("*.key"))
        assert key.stat().st_mode & 0o777 == 0o600
        owner = here.host.facts().server_user if hop == "direct" else here.host.facts().pooler_user
        assert key.owner() == owner
    authority = here.home / "ca" / "ca.key"
    assert authority.stat().st_mode & 0o777 == 0o600
    assert authority.owner() == accounts.current_account().name
    assert PASSWORD not in "".join(path.read_text(errors="replace") for path in layout.log.iterdir())
