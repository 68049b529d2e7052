"""The acts by which an instance comes true: each step is plain data with a reason, and one `apply(host)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from howdah.core.host import Host, Leaving, WantedFile
from howdah.core.instance import Database, Hop, Instance, User
from howdah.core.observed import PARTS, Part
from howdah.core.rotation import Turn
from howdah.phrase import Phrase, say


@dataclass(frozen=True)
class Step:
    """One act toward the wanted instance, and why it is due."""

    what: ClassVar[Phrase] = say("act")
    touches: ClassVar[frozenset[Part]] = PARTS
    """What it can change; only that is looked at anew before the next step."""
    apart: ClassVar[bool] = False
    """It concerns one database alone: where it fails, everything else is done all the same."""
    want: Instance
    why: Phrase

    @property
    def key(self) -> str:
        """What it is told from others by: its kind and its reason."""
        return f"{type(self).__name__}: {self.why}"

    def apply(self, host: Host) -> int | None:
        """Do it on `host`; return when the effect can be seen: how many client sessions it ended, None for what never ends any."""
        raise TypeError(f"{type(self).__name__} says what to do by overriding apply")


class TakeData(Step):
    """Make the data directory: claim a spare, or initialise one."""

    what = say("make the data directory")
    touches = frozenset({"disk"})

    def apply(self, host: Host) -> None:
        host.take_data(self.want)


class TakeFromTrash(Step):
    """Take the data directory back from the trash."""

    what = say("take the data back from the trash")

    def apply(self, host: Host) -> None:
        host.take_from_trash(self.want)


@dataclass(frozen=True)
class TurnAuthority(Step):
    """Make the turn of the authority that time asks for; None: clear up after one that was killed."""

    what = say("turn the authority over to its successor")
    touches = frozenset({"disk"})

    turn: Turn | None

    def apply(self, host: Host) -> None:
        host.turn_authority(self.want, self.turn)


@dataclass(frozen=True)
class IssueCertificate(Step):
    """Issue a certificate for one hop."""

    what = say("issue a certificate")
    touches = frozenset({"disk"})

    hop: Hop

    def apply(self, host: Host) -> None:
        host.issue(self.want, self.hop)


@dataclass(frozen=True)
class WriteServerFiles(Step):
    """Check PostgreSQL's files with PostgreSQL itself, then put them in place."""

    what = say("check and write PostgreSQL's files")
    touches = frozenset({"disk", "server"})  # pg_file_settings reads them

    files: tuple[WantedFile, ...]

    def apply(self, host: Host) -> None:
        host.write_server_files(self.want, self.files)


class StartServer(Step):
    """Start PostgreSQL."""

    what = say("start PostgreSQL")
    touches = PARTS - {"disk"}

    def apply(self, host: Host) -> None:
        host.start_server(self.want)


class RestartServer(Step):
    """Restart PostgreSQL behind a paused pooler."""

    what = say("restart PostgreSQL")

    def apply(self, host: Host) -> int:
        return host.restart_server(self.want)


class StopServer(Step):
    """Stop PostgreSQL."""

    what = say("stop PostgreSQL")

    def apply(self, host: Host) -> int:
        return host.stop_server(self.want)


class SweepLogs(Step):
    """Start the sweeper beside PostgreSQL, which removes its oldest logs, and tell the pooler's keepers today's limit."""

    what = say("keep the logs within their limit")
    touches = frozenset({"server", "pooler"})

    def apply(self, host: Host) -> None:
        host.sweep_logs(self.want)


@dataclass(frozen=True)
class ReloadServer(Step):
    """Make PostgreSQL load its files; done when it reports their digest."""

    what = say("reload PostgreSQL")

    digest: str

    def apply(self, host: Host) -> None:
        host.reload_server(self.want, self.digest)


class SetServiceRoles(Step):
    """Make Howdah's own roles what they must be."""

    what = say("set Howdah's own roles")

    def apply(self, host: Host) -> None:
        host.set_service_roles(self.want)


@dataclass(frozen=True)
class SetUser(Step):
    """Make a user's role, or give it its wanted password."""

    what = say("set a user")
    touches = frozenset({"people"})

    user: User

    def apply(self, host: Host) -> None:
        host.set_user(self.want, self.user)


@dataclass(frozen=True)
class DropUser(Step):
    """Drop a role that Howdah made and nobody wants."""

    what = say("drop a user")

    name: str

    def apply(self, host: Host) -> int:
        return host.drop_user(self.want, self.name)


@dataclass(frozen=True)
class CreateDatabase(Step):
    """Create a database."""

    what = say("create a database")
    touches = frozenset({"people", "inside"})

    database: Database

    def apply(self, host: Host) -> None:
        host.create_database(self.want, self.database)


@dataclass(frozen=True)
class DropDatabase(Step):
    """Drop a database that Howdah made and nobody wants."""

    what = say("drop a database")

    name: str

    def apply(self, host: Host) -> int:
        return host.drop_database(self.want, self.name)


@dataclass(frozen=True)
class SetAccess(Step):
    """Give the granted users every right in a database, and take it from those no longer granted."""

    what = say("set who has access")
    apart = True
    touches = frozenset({"people", "inside"})

    database: str

    def apply(self, host: Host) -> None:
        host.set_access(self.want, self.database)


@dataclass(frozen=True)
class InstallLookup(Step):
    """Put the pooler's lookup function into databases."""

    what = say("install the pooler's lookup")
    apart = True
    touches = frozenset({"people", "inside"})

    databases: tuple[str, ...]

    def apply(self, host: Host) -> None:
        host.install_lookup(self.want, self.databases)


@dataclass(frozen=True)
class RemoveLookup(Step):
    """Take the pooler's lookup function and schema away."""

    what = say("remove the pooler's lookup")

    databases: tuple[str, ...]

    def apply(self, host: Host) -> None:
        host.remove_lookup(self.want, self.databases)


@dataclass(frozen=True)
class EnterDatabase(Step):
    """Look into a database that let nobody in; it is named where it still does not."""

    what = say("look into a database")
    apart = True
    touches = frozenset({"inside"})

    database: str

    def apply(self, host: Host) -> None:
        host.enter_database(self.want, self.database)


@dataclass(frozen=True)
class CreateExtension(Step):
    """Create a SQL extension in a database."""

    what = say("create an extension")
    apart = True
    touches = frozenset({"inside"})

    database: str
    name: str

    def apply(self, host: Host) -> None:
        host.create_extension(self.want, self.database, self.name)


@dataclass(frozen=True)
class DropExtension(Step):
    """Drop a SQL extension from a database."""

    what = say("drop an extension")

    database: str
    name: str

    def apply(self, host: Host) -> None:
        host.drop_extension(self.want, self.database, self.name)


@dataclass(frozen=True)
class BeginPooler(Step):
    """Begin the pooler's first generation, without waiting for it; StartPooler awaits and proves it."""

    what = say("begin PgBouncer")
    touches = frozenset({"pooler", "pooled"})  # its directory is there already, for its certificate lies there

    files: tuple[WantedFile, ...]

    def apply(self, host: Host) -> None:
        host.begin_pooler(self.want, self.files)


@dataclass(frozen=True)
class StartPooler(Step):
    """Try the files beside, then start a generation of the pooler; new logins come to it."""

    what = say("try and start PgBouncer")
    apart = True
    touches = frozenset({"pooler", "pooled"})

    number: int
    files: tuple[WantedFile, ...]

    def apply(self, host: Host) -> None:
        host.start_pooler(self.want, self.number, self.files)


@dataclass(frozen=True)
class SteerPooler(Step):
    """Have new logins come to a generation again, after another one has left."""

    what = say("send new logins to the newest PgBouncer")
    touches = frozenset({"pooler", "pooled"})

    number: int

    def apply(self, host: Host) -> None:
        host.steer_pooler(self.want, self.number)


@dataclass(frozen=True)
class ChangePooler(Step):
    """Try new files beside the live pooler, put them in place, reload, and prove it; on a mismatch the old ones return."""

    what = say("try, change and reload PgBouncer")

    number: int
    files: tuple[WantedFile, ...]

    def apply(self, host: Host) -> None:
        host.change_pooler(self.want, self.number, self.files)


@dataclass(frozen=True)
class ReloadPooler(Step):
    """Make a generation load the file that lies there."""

    what = say("reload PgBouncer")

    number: int

    def apply(self, host: Host) -> None:
        host.reload_pooler(self.want, self.number)


@dataclass(frozen=True)
class RetirePooler(Step):
    """End a generation of the pooler and take its directory away; what becomes of those who are in, `leaving` says."""

    what = say("end PgBouncer")

    number: int
    leaving: Leaving = "empty"

    def apply(self, host: Host) -> int:
        return host.retire_pooler(self.want, self.number, leaving=self.leaving)


class RemovePooler(Step):
    """Take the pooler's keys and files away."""

    what = say("remove the pooler's keys and files")

    def apply(self, host: Host) -> None:
        host.remove_pooler(self.want)


@dataclass(frozen=True)
class ResumePooler(Step):
    """Let a paused or disabled generation serve again."""

    what = say("resume PgBouncer")

    number: int

    def apply(self, host: Host) -> None:
        host.resume_pooler(self.want, self.number)


@dataclass(frozen=True)
class EndPlaintext(Step):
    """End sessions that were opened in plaintext before TLS was required."""

    what = say("end sessions in plaintext")

    hop: Hop

    def apply(self, host: Host) -> int:
        return host.end_plaintext(self.want, self.hop)


class MoveToTrash(Step):
    """Destroy keys, passfile and certificates; move the data directory to the trash."""

    what = say("move the data to the trash")

    def apply(self, host: Host) -> None:
        host.move_to_trash(self.want)
