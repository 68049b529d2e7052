"""Certificates anew and the authority's change, on two instances of one home: nobody who has the file in time is refused, whoever has it
late is, no transaction fails while it happens, and whoever is killed in the middle leaves nothing that the next pass does not put right.
"""

from __future__ import annotations

import functools
import itertools
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.load import Load, Wish, load
from tests.real.instances import DATABASE, PASSWORD, USER, Place, Voice, in_child, place, prove

from howdah import compose
from howdah.core.instance import HOPS, Hop
from howdah.core.rotation import Phase, Turn
from howdah.errors import Conflict, Failed
from howdah.host import bundle, files, outside, pki, succession
from howdah.verify import Report

DEATH = 9
AFTER: dict[tuple[Phase, Turn], Phase] = {
    ("settled", "announce"): "announced",
    ("announced", "switch"): "switched",
    ("switched", "finish"): "settled",
    ("announced", "recall"): "settled",
    ("switched", "recall"): "announced",
}
WAY: dict[Phase, tuple[Turn, ...]] = {"settled": (), "announced": ("announce",), "switched": ("announce", "switch")}


# --- the files alone ----------------------------------------------------------------------------------------------------------------


def turn_and_die(home: Path, asked: Turn, effects: int) -> None:
    """Make a turn, and die after so many effects on files."""
    left = itertools.count(effects - 1, -1)

    def lethal(effect: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **kwargs: Any) -> Any:
            done = effect(*args, **kwargs)
            if next(left) == 0:
                os._exit(DEATH)
            return done

        return act

    for owner, name in [(files, "put"), (files, "unlink"), (files, "sync_directory"), (Path, "rename"), (os, "fsync"), (os, "write")]:
        setattr(owner, name, lethal(getattr(owner, name)))
    succession.turn(home, asked)


def at(home: Path, phase: Phase) -> None:
    for asked in WAY[phase]:
        succession.turn(home, asked)


def believed(home: Path) -> bool:
    """Tell whether a leaf issued now is believed by whoever has the file of now."""
    pair = pki.issue(home, home / "tls", "direct", ["localhost"], 30)
    leaf = home / "tls" / f"direct.{pair.serial}.crt"
    said = subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", home / "ca" / "ca.crt", leaf], capture_output=True, check=False)
    (newest, *_) = pki.pairs(home / "tls", "direct", home / "ca" / "ca.crt")
    return said.returncode == 0 and newest.trusted and newest.current


@pytest.mark.parametrize(("phase", "asked"), AFTER)
def test_a_turn_that_is_killed_anywhere_is_whole_or_not_made(tmp_path: Path, phase: Phase, asked: Turn) -> None:
    for effects in itertools.count(1):
        home = tmp_path / str(effects)
        home.mkdir()
        pki.authority(home)
        at(home, phase)
        first = bundle.show(home)

        died = in_child(functools.partial(turn_and_die, home, asked, effects), die=DEATH)
        assert bundle.show(home).phase in (phase, AFTER[phase, asked])
        assert believed(home)
        succession.clear_up(home)
        if bundle.show(home).phase == phase:
            succession.turn(home, asked)
        now = bundle.show(home)
        assert (now.phase, now.cut_off, believed(home)) == (AFTER[phase, asked], False, True)
        if now.phase == "settled":
            assert {path.name for path in (home / "ca").iterdir()} == {"ca.key", "ca.crt"}
            assert (now.fingerprint == first.fingerprint) is (asked == "recall" or first.issuer == now.issuer)
        if not died:
            assert effects > 1
            return


def test_each_turn_keeps_who_issues_first_and_keys_to_their_owner(tmp_path: Path) -> None:
    old = pki.authority(tmp_path)
    announced = succession.turn(tmp_path, "announce")
    assert (announced.issuer, announced.phase) == (old.issuer, "announced")
    assert announced.other is not None
    assert stat.S_IMODE((tmp_path / "ca" / "next.key").stat().st_mode) == 0o600
    switched = succession.turn(tmp_path, "switch")
    assert (switched.issuer, switched.other, switched.phase) == (announced.other, old.issuer, "switched")
    with (tmp_path / "ca" / "ca.key").open("rb") as key:  # whoever has it open, or a link to it, is left with nothing
        finished = succession.turn(tmp_path, "finish")
        assert set(key.read()) == {0}
    assert (finished.issuer, finished.other, finished.phase, finished.cut_off) == (announced.other, None, "settled", False)


@pytest.mark.parametrize(
    ("phase", "asked"), [("settled", "switch"), ("settled", "recall"), ("announced", "finish"), ("switched", "announce")]
)
def test_a_turn_out_of_order_is_refused(tmp_path: Path, phase: Phase, asked: Turn) -> None:
    pki.authority(tmp_path)
    at(tmp_path, phase)
    before = bundle.show(tmp_path)
    with pytest.raises(Conflict) as refused:
        succession.turn(tmp_path, asked)
    assert refused.value.code == "authority_elsewhere"
    assert bundle.show(tmp_path) == before


def test_without_the_successors_key_nothing_is_switched(tmp_path: Path) -> None:
    at(tmp_path, "announced")
    (tmp_path / "ca" / "next.key").write_text("nonsense")
    with pytest.raises(Failed) as refused:
        succession.turn(tmp_path, "switch")
    assert refused.value.code == "authority_keyless"
    assert bundle.show(tmp_path).phase == "announced"
    succession.turn(tmp_path, "recall")
    assert believed(tmp_path)


# --- two instances ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as made:
        for name in ("shop", "till"):
            made.create(name)
        yield made


def copied(here: Place, name: str) -> Path:
    """Copy the file of clients as it is now, as a client elsewhere would."""
    copy = here.home / name
    copy.write_bytes((here.home / "ca" / "ca.crt").read_bytes())
    return copy


def serials(here: Place, name: str = "shop") -> dict[Hop, str]:
    return {hop: outside.served_serial(here.want(name), hop) for hop in HOPS}


def wish(here: Place, copy: Path) -> Wish:
    """Return a light load by clients that verify with this copy."""
    want = here.want()
    who = f"host=127.0.0.1 user={USER} password='{PASSWORD}' dbname={DATABASE} sslmode=verify-full sslrootcert={copy}"
    return Wish(f"{who} port={want.hop_port('pooled')}", f"{who} port={want.port}", clients=3, direct_clients=2)


def unharmed(under: Load) -> bool:
    balance = under.stop()
    print(*under.windows, balance, sep="\n")
    failed = [tally for each in under.windows for tally in (each.pooled, each.direct, each.logins) if tally.failed or tally.ended]
    return not failed and balance.acknowledged > 0 and (balance.lost, balance.doubled) == (0, 0)


def told(report: Report, check: str) -> tuple[str, str]:
    return next((line.finding.result, str(line.finding.evidence)) for line in report.checks if line.check.id == check)


def test_certificates_are_renewed_at_will_and_under_load(here: Place) -> None:
    before, others = serials(here), serials(here, "till")
    with load(wish(here, copied(here, "now.crt"))) as under:
        with under.window("both"):
            done = here.service.renew("shop", HOPS, Voice().caller("certificates renew"))
        after = serials(here)
        with under.window("pooled alone"):
            here.service.renew("shop", ["pooled"], Voice().caller("certificates renew"))
        assert unharmed(under)
    assert [(each.name, each.old, each.new) for each in done.changes] == [(hop, before[hop], after[hop]) for hop in HOPS]
    assert not {*before.values()} & {*after.values()}
    assert serials(here)["direct"] == after["direct"]
    assert serials(here)["pooled"] != after["pooled"]
    assert serials(here, "till") == others
    prove(here)


def test_the_authority_changes_under_load_and_nobody_with_the_file_is_refused(here: Place) -> None:
    caller = Voice().caller("ca switch")
    old = copied(here, "old.crt")
    before = serials(here)
    with load(wish(here, old)) as under:  # who has the old file alone, until the switch
        with under.window("announce"):
            assert here.service.announce_authority().bundle.phase == "announced"
            here.service.renew("shop", HOPS, caller)
        assert unharmed(under)
    both = copied(here, "both.crt")
    assert here.service.announce_authority().bundle.pem == both.read_text(), "said twice is done once"
    announced = compose.verify(here.home, "shop")
    assert (announced.verdict, told(announced, "authority-change")[0]) == ("proven", "warn")
    assert not {*before.values()} & {*serials(here).values()}

    with load(wish(here, both)) as under:  # who has both, from then on
        with under.window("switch"):
            turned = here.service.switch_authority(caller)
        with under.window("recall"):
            assert here.service.recall_authority(caller).bundle.phase == "announced"
        here.login(sslrootcert=str(old)).close()
        with under.window("switch again"):
            here.service.switch_authority(caller)
        assert unharmed(under)
    assert [done.instance.name for done in turned.followed] == ["shop", "till"]
    for name, hop in itertools.product(("shop", "till"), HOPS):
        assert "certificate verify failed" in here.refused(hop, name=name, sslrootcert=str(old))
        here.login(hop, name=name, sslrootcert=str(both)).close()
    prove(here)

    copied(here, "new.crt").write_text(bundle.show(here.home).issuer.pem)
    with load(wish(here, here.home / "new.crt")) as under:
        with under.window("finish"):
            assert here.service.finish_authority(caller).bundle.phase == "settled"
        assert unharmed(under)
    assert (here.home / "ca" / "ca.crt").read_text() == (here.home / "new.crt").read_text()
    assert {path.name for path in (here.home / "ca").iterdir()} == {"ca.key", "ca.crt"}
    for name in ("shop", "till"):
        prove(here, name)
    settled = compose.verify(here.home, "till")
    assert (settled.verdict, told(settled, "authority-change")[0]) == ("proven", "pass")


def test_what_does_not_follow_is_named_and_keeps_the_old_authority(here: Place) -> None:
    here.service.announce_authority()
    here.host.change_authority("switch")  # killed before any instance followed
    refuted = compose.verify(here.home, "shop")
    assert (refuted.verdict, told(refuted, "authority-change")[0]) == ("refuted", "fail")
    assert "direct, pooled" in told(refuted, "authority-change")[1]
    here.service.stop("till", Voice().caller("stop"))
    with pytest.raises(Conflict) as refused:
        here.service.finish_authority(Voice().caller("ca finish"))
    assert refused.value.code == "authority_in_use"
    assert "shop" in str(refused.value.message) and "till" not in str(refused.value.message)
    assert "IssueCertificate" in here.repair("shop")
    here.service.finish_authority(Voice().caller("ca finish"))
    here.service.start("till", Voice().caller("start"))  # it was stopped all the while
    prove(here)
    prove(here, "till")


def test_a_turn_that_was_killed_is_cleared_up_by_the_next_pass(here: Place) -> None:
    pki.make_successor(here.home)
    assert told(compose.verify(here.home, "shop"), "authority-change")[0] == "fail"
    assert here.repair() == ("TurnAuthority",)
    assert {path.name for path in (here.home / "ca").iterdir()} == {"ca.key", "ca.crt"}
    assert here.repair() == here.repair("till") == ()
