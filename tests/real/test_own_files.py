"""env, psql and connect --write-service, as a person uses them: with the real psql, in a home with files of their own."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
import yaml
from tests.real.instances import DATABASE, PASSWORD, USER, Place, asks, place
from tests.real.said import Said

from howdah.settings import SETTINGS

SERVICES = "# mine\n[other]\nhost=nowhere\n"
PASSWORDS = "# mine\n*:*:*:app:wrong\n"
SELECT = "SELECT current_user || '@' || current_database() || ' ' || coalesce(inet_server_port()::text, 'pooled')"


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    """An instance, and a user whose password Howdah made."""
    with place() as made:
        made.create("shop")
        made.pool({"pool_mode": "transaction"})
        made.service.set_password("shop", USER, None, asks())  # made, so kept
        yield made


class Person:
    """Somebody with a home, files of libpq's in it, and an environment that misleads."""

    def __init__(self, place: Place, home: Path) -> None:
        self.place, self.home = place, home
        named = {setting.name for setting in SETTINGS}
        kept = {name: value for name, value in os.environ.items() if name not in named and not name.startswith("PG")}
        self.environment = {**kept, "HOWDAH_HOME": str(place.home), "HOWDAH_LANG": "en", "HOME": str(home)}

    def sh(self, line: str, **environment: str) -> Said:
        """Run a line of shell in which `howdah` is this one."""
        program = f'howdah() {{ "{sys.executable}" -P -m howdah "$@"; }}\n'
        command = ["sh", "-c", program + line]
        done = subprocess.run(command, capture_output=True, text=True, env={**self.environment, **environment}, timeout=60, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    def good(self, line: str, **environment: str) -> str:
        said = self.sh(line, **environment)
        assert said.code == 0, said.err
        return said.out.strip()

    @property
    def services(self) -> Path:
        return self.home / ".pg_service.conf"

    @property
    def passwords(self) -> Path:
        return self.home / ".pgpass"


@pytest.fixture
def person(here: Place) -> Iterator[Person]:
    home = Path(mkdtemp(prefix="p"))
    someone = Person(here, home)
    someone.services.write_text(SERVICES)
    someone.passwords.write_text(PASSWORDS)
    someone.passwords.chmod(0o600)
    yield someone
    shutil.rmtree(home)


MISLEADING = {
    "PGSERVICE": "other",
    "PGHOSTADDR": "127.0.0.9",
    "PGPASSWORD": "wrong",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGTARGETSESSIONATTRS": "read-only",
    "PGSSLCRL": "/nonexistent",
    "PGDATABASE": "postgres",
    "PGSSLMODE": "disable",
}


def test_env_is_evaluated_whatever_was_there(person: Person) -> None:
    pooled = 'eval "$(howdah env shop)" && psql -Atc "' + SELECT + '"'
    assert person.good(pooled, **MISLEADING) == f"{USER}@{DATABASE} pooled"
    direct = 'eval "$(howdah env shop --direct)" && psql -Atc "' + SELECT + '"'
    assert person.good(direct, **MISLEADING) == f"{USER}@{DATABASE} {person.place.want().port}"
    assert person.sh("howdah env shop").err == ""
    back = 'eval "$(howdah env shop --direct)" && eval "$(howdah env shop --unset)" && env | grep ^PG'
    assert person.sh(back).out == ""
    assert person.sh('eval "$(howdah env nothing)" ; echo "still $PGHOST"', PGHOST="here").out == "still here\n"


def test_psql_opens_with_nothing_left_to_type(person: Person) -> None:
    assert person.good(f'howdah psql shop -- -Atc "{SELECT}"', **MISLEADING) == f"{USER}@{DATABASE} pooled"
    assert (
        person.good(f'howdah psql shop --direct -- -At <<< "{SELECT}"'.replace("<<<", "-c"))
        == f"{USER}@{DATABASE} {person.place.want().port}"
    )
    assert person.sh("howdah psql shop -- -c 'SELECT 1/0'").code == 1  # psql's own exit code
    assert person.sh("howdah psql shop --direct -- -d nothing").code == 2


def test_psql_shows_no_password_to_who_looks_at_processes(person: Person) -> None:
    """What `ps` shows of the running psql, words and environment, taken by psql's own child."""
    seen = person.good(r"""howdah psql shop -- -c '\! tr "\0" "\n" < /proc/$PPID/cmdline; tr "\0" "\n" < /proc/$PPID/environ'""")
    kept = person.place.layout().passfile.read_text().strip().rpartition(":")[2]
    assert f"PGPASSFILE={person.place.layout().passfile}" in seen and "psql" in seen.splitlines()[0]
    assert kept not in seen and "PGPASSWORD" not in seen


def test_psql_in_json_is_told_and_not_run(person: Person) -> None:
    told = json.loads(person.good("howdah psql shop --json -- -c 'SELECT 1'"))
    assert told["words"] == ["-c", "SELECT 1"] and told["set"]["PGUSER"] == USER and "PGPASSWORD" in told["unset"]


@pytest.mark.long
def test_psql_of_a_stopped_instance_says_so(person: Person) -> None:
    person.good("howdah stop shop --yes")
    try:
        assert person.sh("howdah psql shop").line == "error: cannot open psql: shop is stopped; howdah start shop"
    finally:
        person.good("howdah start shop")


def test_a_service_is_written_used_refreshed_and_taken_away(person: Person) -> None:
    for _ in range(2):
        person.good("howdah connect shop --write-service && howdah connect shop --via direct --write-service")
        assert person.services.read_text().startswith(SERVICES) and person.passwords.read_text().endswith(PASSWORDS)
        assert person.services.read_text().count("[shop-") == 2 and person.passwords.read_text().count("howdah:") == 2
    assert stat.S_IMODE(person.passwords.stat().st_mode) == 0o600
    assert person.good(f'psql service=shop-pooled -Atc "{SELECT}"').endswith("pooled")
    assert person.good(f'psql service=shop-direct -Atc "{SELECT}"') == f"{USER}@{DATABASE} {person.place.want().port}"
    assert "follows" in person.sh("howdah users password shop app").err
    assert person.good(f'psql service=shop-pooled -Atc "{SELECT}"').endswith("pooled")
    person.good("howdah connect shop --remove-service")
    assert person.services.read_text() == SERVICES and person.passwords.read_text() == PASSWORDS
    assert "nothing to change" in person.good("howdah connect shop --remove-service")


def test_a_password_that_is_not_kept_is_asked_for(person: Person) -> None:
    person.good("howdah connect shop --write-service")
    person.good(f"echo {PASSWORD!r} | howdah users password shop app --password-stdin")
    assert person.passwords.read_text() == PASSWORDS  # the old one is of no use any more
    said = person.sh("howdah connect shop --write-service")
    assert "asks for it" in said.err and person.passwords.read_text() == PASSWORDS
    assert person.good(f'psql service=shop-pooled -Atc "{SELECT}"', PGPASSWORD=PASSWORD).endswith("pooled")
    assert "no password" in person.sh("howdah env shop").err
    person.place.service.set_password("shop", USER, None, asks())


@pytest.mark.long
def test_delete_takes_the_section_away(person: Person) -> None:
    person.good("howdah create other --database d --user u && howdah connect other --write-service")
    assert "[other-direct]" in person.services.read_text()
    assert "took other-direct out of" in person.sh("howdah delete other --yes", HOWDAH_TRASH="0").err
    assert person.services.read_text() == SERVICES and person.passwords.read_text() == PASSWORDS


def test_a_foreign_section_of_that_name_is_refused_and_nothing_is_written(person: Person) -> None:
    person.services.write_text("[shop-pooled]\nhost=mine\n")
    said = person.sh("howdah connect shop --write-service")
    assert said.code == 4 and "not of this instance" in said.line
    assert person.services.read_text() == "[shop-pooled]\nhost=mine\n" and person.passwords.read_text() == PASSWORDS


def test_links_stay_links_and_modes_stay(person: Person) -> None:
    dotfiles = person.home / "dotfiles"
    dotfiles.mkdir()
    for path in (person.services, person.passwords):
        path.rename(dotfiles / path.name)
        path.symlink_to(Path("dotfiles") / path.name)
    (dotfiles / ".pg_service.conf").chmod(0o640)
    (dotfiles / ".pgpass").chmod(0o644)  # libpq would ignore it
    person.good("howdah connect shop --write-service")
    assert person.services.is_symlink() and person.passwords.is_symlink()
    assert stat.S_IMODE((dotfiles / ".pg_service.conf").stat().st_mode) == 0o640
    assert stat.S_IMODE((dotfiles / ".pgpass").stat().st_mode) == 0o600
    assert sorted(path.name for path in dotfiles.iterdir()) == [".pg_service.conf", ".pgpass"]
    assert person.good(f'psql service=shop-pooled -Atc "{SELECT}"').endswith("pooled")


@pytest.mark.parametrize("make", ["mkdir", "mkfifo", "ln other"])
def test_what_is_no_file_of_its_own_is_refused(person: Person, make: str) -> None:
    (person.home / "other").write_text("x")
    person.services.unlink()
    subprocess.run([*make.split(), person.services], cwd=person.home, check=True)
    said = person.sh("howdah connect shop --write-service")
    assert said.code == 4 and said.cure
    assert person.passwords.read_text() == PASSWORDS


def test_where_libpq_is_told_to_look_is_where_it_is_written(person: Person) -> None:
    """But never into the file in which Howdah keeps the passwords that it made, which `env` names."""
    before = person.place.layout().passfile.read_text()
    own = str(person.home / "own.conf")
    person.good('eval "$(howdah env shop)" && howdah connect shop --write-service', PGSERVICEFILE=own)
    assert "[shop-pooled]" in Path(own).read_text() and "howdah:" in person.passwords.read_text()
    assert person.place.layout().passfile.read_text() == before
    assert person.services.read_text() == SERVICES


def test_many_at_once_lose_nothing(person: Person) -> None:
    """Two instances' names would be two sections; here both hops, each many times, beside somebody who takes one away."""
    lines = ["howdah connect shop --write-service", "howdah connect shop --via direct --write-service"] * 4
    person.good(" & ".join(lines) + " & wait")
    assert person.services.read_text().startswith(SERVICES) and person.services.read_text().count("[shop-") == 2
    assert person.passwords.read_text().count("howdah:") == 2 and person.passwords.read_text().endswith(PASSWORDS)
    assert sorted(path.name for path in person.home.iterdir()) == [".pg_service.conf", ".pgpass"]


# --- the pooler's own view ----------------------------------------------------------------------------------------------------------


def test_the_pooler_says_who_is_with_it_and_how_encrypted(person: Person) -> None:
    """While psql is connected, whose own child asks."""
    asked = f"howdah psql shop -- -c '\\! {sys.executable} -P -m howdah pooler sessions shop"
    told = [each for each in json.loads(person.good(f"{asked} --json'", PGAPPNAME="seen")) if each["application"] == "seen"]
    assert [(each["user"], each["database"], each["encrypted"]) for each in told] == [(USER, DATABASE, True)]
    assert told[0]["tls"].startswith("TLSv1.") and told[0]["tls"] in person.good(f"{asked}'")
    person.good("howdah create bare")
    assert person.sh("howdah pooler sessions bare").code == 3


# --- files for frameworks -----------------------------------------------------------------------------------------------------------


def test_a_secret_with_its_password_is_all_that_a_pod_needs(person: Person) -> None:
    """The manifest's own values, the CA among them, in an environment that has nothing else."""
    manifest = yaml.safe_load(person.good("howdah connect shop --client kubernetes --with-password"))
    values: dict[str, str] = manifest["stringData"]
    (person.home / "ca.crt").write_text(values.pop("ca.crt"))
    values["PGSSLROOTCERT"] = str(person.home / "ca.crt")
    person.passwords.unlink()
    assert person.good(f'psql -Atc "{SELECT}"', **values) == f"{USER}@{DATABASE} pooled"
    url = values["DATABASE_URL"].replace(str(person.place.layout().ca_file), values["PGSSLROOTCERT"])
    assert person.good(f"psql '{url}' -Atc \"{SELECT}\"") == f"{USER}@{DATABASE} pooled"


def test_files_are_written_for_their_owner_alone_and_never_over_others(person: Person) -> None:
    into = person.home / "site"
    assert person.good(f"howdah connect shop --client dotenv --with-password --into {into}") == f"wrote {into}/.env"
    assert stat.S_IMODE((into / ".env").stat().st_mode) == 0o600
    assert person.good(f'. {into}/.env; psql "$DIRECT_URL" -Atc "{SELECT}"') == f"{USER}@{DATABASE} {person.place.want().port}"
    before = (into / ".env").read_text()
    assert person.sh(f"howdah connect shop --client prisma --into {into}").code == 4
    assert [path.name for path in into.iterdir()] == [".env"] and (into / ".env").read_text() == before
    assert person.sh("howdah connect shop --client psql --with-password").code == 5


DJANGO = """
import sys
sys.path.insert(0, {directory!r})
import django
from databases import DATABASES
from django.conf import settings
settings.configure(DATABASES=DATABASES)
django.setup()
from django.db import connections
for alias in ("default", "direct"):
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT current_user || ' ' || coalesce(inet_server_port()::text, 'pooled')")
        print(cursor.fetchone()[0])
    connections[alias].close()
"""


def test_django_reads_its_setting_and_reaches_both_ways(person: Person) -> None:
    person.good(f"howdah connect shop --client django --into {person.home}")
    program = [sys.executable, "-c", DJANGO.format(directory=str(person.home))]
    done = subprocess.run(program, capture_output=True, text=True, env=person.environment, timeout=60, check=False)
    assert done.stdout.splitlines() == [f"{USER} pooled", f"{USER} {person.place.want().port}"], done.stderr
