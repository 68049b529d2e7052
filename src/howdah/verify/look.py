"""Everything that the checks judge, looked at once for all of them: the wire, logins of the probe role, and what the machine tells.

The order matters where one look would spoil another: sessions are compared while they are open, and the probe role expires last. The
checks read from here and never look themselves. A look that was refused is remembered too, and refused again to whoever needs it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, TypeVar

from howdah.core.endpoint import Endpoint, endpoints
from howdah.core.instance import Hop, Instance
from howdah.core.observed import Generation, Inside, Observed, Server
from howdah.core.seat import Backend, Kept, Membership, Pool, PoolSession, Rule, Seat, Stranger
from howdah.errors import Refusal, Unavailable
from howdah.phrase import Phrase, say
from howdah.secret import Secret
from howdah.verify.client import Cancel, Client, Login
from howdah.verify.stranger import Told, begin, foreign_authority, listen
from howdah.wire import Answer

# In session mode a backend is reset after its client has left, and may not be back in the pool when the next client comes.
REUSE_ATTEMPTS = 5
NOBODY = "howdah_nobody"
# Each waits for a server far more than it computes: two hops listen, two log in, the others ask for them.
THREADS = 8
_WRONG = Secret("wrong on purpose")
_NOT_TRIED = Login(False, "not tried")
_NOT_CANCELLED = Cancel(False, "not tried")
_NOT_ASKED = Answer("unreachable", message="not asked")
_ANSWERS = ("authentication", "error")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Tried:
    """How the logins on one hop went; `backends` are the pids of PostgreSQL that answered the right ones, one after the other."""

    asked: Answer = _NOT_ASKED  # the beginning of a login of the probe role, while it may log in: PgBouncer tells others at once
    template: Answer = _NOT_ASKED  # the same, to template1
    right: Login = _NOT_TRIED
    wrong: Login = _NOT_TRIED
    without: Login = _NOT_TRIED
    unknown: Login = _NOT_TRIED
    expired: Login = _NOT_TRIED
    locked: Login = _NOT_TRIED  # after login was taken from the role
    cancel: Cancel = _NOT_CANCELLED
    backends: tuple[int, ...] = ()


@dataclass(frozen=True)
class Views:
    """How both servers saw the right logins while they were open."""

    backends: Sequence[Backend] = ()
    pool: Sequence[PoolSession] = ()


@dataclass(frozen=True)
class Logins:
    """How all logins went."""

    role: str
    hops: Mapping[Hop, Tried]
    views: Views


class Look:
    """One run's looks; `begin` makes those that take long, side by side, and each of the others is made when it is first asked for."""

    def __init__(self, want: Instance, seat: Seat, now: float) -> None:
        self.want = want
        self.seat = seat
        self.now = now
        self.endpoints: Mapping[Hop, Endpoint] = {endpoint.kind: endpoint for endpoint in endpoints(want)}
        self._made: dict[object, object] = {}

    def begin(self) -> None:
        """Listen on every hop and log in, at the same time; nothing is left running, logged in or waiting."""
        with contextlib.suppress(Refusal, OSError):
            self._once("seen", self.seat.observe)  # before there are threads that need it
        with foreign_authority() as foreign, ThreadPoolExecutor(THREADS, thread_name_prefix="verify") as threads:
            listening = {hop: threads.submit(self._listen, endpoint, foreign, threads) for hop, endpoint in self.endpoints.items()}
            with contextlib.suppress(Refusal, OSError):  # remembered, and told to whoever asks
                _ = self.server
                self._once("logins", lambda: self._log_in(threads))
            for hop, each in listening.items():
                with contextlib.suppress(Refusal, OSError):
                    self._once(("told", hop), each.result)

    @property
    def seen(self) -> Observed:
        """What is there, by the machine's own account."""
        return self._once("seen", self.seat.observe)

    @property
    def server(self) -> Server:
        """PostgreSQL by its own account; a refusal when it does not answer, so that nobody waits for it twice."""
        server = self.seen.server
        if server.state != "ready":
            raise Unavailable("no_server", say("PostgreSQL is {state}", state=server.state))
        return server

    @property
    def logins(self) -> Logins:
        """How logins went."""
        _ = self.server
        return self._once("logins", _not_begun)

    @property
    def rules(self) -> Sequence[Rule]:
        """The server's rules of admission."""
        _ = self.server
        return self._once("rules", self.seat.rules)

    @property
    def weak_secrets(self) -> Sequence[str]:
        """Roles whose stored password is no SCRAM verifier."""
        _ = self.server
        return self._once("weak_secrets", self.seat.weak_secrets)

    @property
    def strangers(self) -> Sequence[Stranger]:
        """Settings that do not come from Howdah's own file."""
        _ = self.server
        return self._once("strangers", self.seat.strangers)

    @property
    def memberships(self) -> Sequence[Membership]:
        """Who may act as a role that reaches beyond the database."""
        _ = self.server
        return self._once("memberships", self.seat.memberships)

    @property
    def pool(self) -> Pool:
        """What the pooler tells beside its settings."""
        return self._once("pool", self.seat.pool)

    @property
    def kept(self) -> Sequence[Kept]:
        """What is to be kept from others."""
        return self._once("kept", self.seat.kept)

    def told(self, hop: Hop) -> Told:
        """Return what a stranger was told on a hop."""
        return self._once(("told", hop), _not_begun)

    def _once(self, name: object, look: Callable[[], _T]) -> _T:
        if name not in self._made:
            try:
                self._made[name] = look()
            except (Refusal, OSError) as error:
                self._made[name] = error
        found = self._made[name]
        if isinstance(found, Refusal | OSError):
            raise found
        return found  # type: ignore[return-value]  # a name always stands for the same look

    def _listen(self, endpoint: Endpoint, foreign: Path, threads: Executor) -> Told:
        return listen(endpoint, self.seen.layout.ca_file, foreign, threads)

    # --- logins -----------------------------------------------------------------------------------------------------------------------

    def _log_in(self, threads: Executor) -> Logins:
        ca = self.seen.layout.ca_file
        clients: dict[Hop, Client] = {hop: Client(endpoint, ca) for hop, endpoint in self.endpoints.items()}
        try:
            role, password = self.seat.open_probe()
            begun = {hop: threads.submit(_begun, each, role) for hop, each in clients.items()}
            right, views = self._right(clients, role, password)
            tried = {hop: replace(begun[hop].result(), right=each.right, backends=each.backends) for hop, each in right.items()}
            # where a right login was not even answered, every other one would only wait for its time limit
            answering = [hop for hop, each in tried.items() if each.right.admitted or each.right.refused]
            refused = {hop: threads.submit(_refused, clients[hop], role, tried[hop]) for hop in answering}
            cancelled = {hop: threads.submit(clients[hop].cancel, role, password) for hop in answering}
            tried |= {hop: replace(each.result(), cancel=cancelled[hop].result()) for hop, each in refused.items()}
            self.seat.expire_probe()
            expired = self._again(threads, clients, answering, role, password)
            self.seat.close_probe()
            locked = self._again(threads, clients, answering, role, password)
            tried |= {hop: replace(tried[hop], expired=expired[hop], locked=locked[hop]) for hop in answering}
            return Logins(role, tried, views)
        finally:
            self.seat.close_probe()

    @staticmethod
    def _again(threads: Executor, clients: Mapping[Hop, Client], hops: Sequence[Hop], role: str, password: Secret) -> Mapping[Hop, Login]:
        """Log in once more with the password that was right."""
        begun = {hop: threads.submit(clients[hop].attempt, role, password) for hop in hops}
        return {hop: each.result() for hop, each in begun.items()}

    def _right(self, clients: Mapping[Hop, Client], role: str, password: Secret) -> tuple[dict[Hop, Tried], Views]:
        """Hold a session on each hop while both servers say how they see it; then come again through the pooler."""
        with contextlib.ExitStack() as held:
            opened = {hop: each.hold(role, password) for hop, each in clients.items()}
            sessions = {hop: held.enter_context(contextlib.closing(s)) for hop, (_, s) in opened.items() if s is not None}
            views = Views(self.seat.backends(), self.seat.pool_sessions() if "pooled" in sessions else ())
            tried = {hop: Tried(right=login, backends=(login.backend,)) for hop, (login, _) in opened.items()}
            if "pooled" in sessions:
                if self._one_backend_a_session():
                    sessions["pooled"].close()
                tried["pooled"] = _come_again(clients["pooled"], role, password, tried["pooled"])
        return tried, views

    def _one_backend_a_session(self) -> bool:
        """Tell whether a backend returns to the pool only when its client leaves."""
        loaded = self.seen.pooler[-1].config if self.seen.pooler else {}
        return loaded.get("pool_mode", "session") == "session"


def _begun(each: Client, role: str) -> Tried:
    asked = begin(each.endpoint, role)
    return Tried(asked=asked, template=begin(each.endpoint, role, "template1") if asked.kind in _ANSWERS else asked)


def _refused(each: Client, role: str, tried: Tried) -> Tried:
    """Try what must be refused whoever asks; none of these is the probe role with its own password."""
    return replace(tried, wrong=each.attempt(role, _WRONG), without=each.attempt(role, None), unknown=each.attempt(NOBODY, _WRONG))


def _come_again(each: Client, role: str, password: Secret, tried: Tried) -> Tried:
    """Log in anew until a backend answers that has answered before, a few times at most."""
    seen = list(tried.backends)
    for _ in range(REUSE_ATTEMPTS):
        again = each.attempt(role, password)
        if not again.admitted:
            break
        seen.append(again.backend)
        if again.backend in seen[:-1]:
            break
    return replace(tried, backends=tuple(seen))


def _not_begun() -> NoReturn:
    raise Unavailable("not_begun", say("cannot tell: it was not looked at"))


# --- for one check --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Context:
    """What one check reads: the looks, as seen from the hop that it is run for."""

    look: Look
    hop: Hop

    @property
    def want(self) -> Instance:
        """The instance as wanted."""
        return self.look.want

    @property
    def seen(self) -> Observed:
        """The instance as it is."""
        return self.look.seen

    @property
    def server(self) -> Server:
        """PostgreSQL by its own account; a refusal when it does not answer."""
        return self.look.server

    @property
    def inside(self) -> Mapping[str, Inside]:
        """What is inside each database; a refusal when PostgreSQL does not answer."""
        return self.seen.inside if self.server else {}

    @property
    def told(self) -> Told:
        """What a stranger was told on this hop; a refusal when nobody answered."""
        told = self.look.told(self.hop)
        if told.error:
            raise Unavailable("no_answer", say("no answer on port {port}: {reason}", port=self.endpoint.port, reason=told.error))
        return told

    @property
    def endpoint(self) -> Endpoint:
        """Where this hop is reached."""
        return self.look.endpoints[self.hop]

    @property
    def tried(self) -> Tried:
        """How logins on this hop went."""
        return self.look.logins.hops[self.hop]

    @property
    def pooler(self) -> Generation:
        """The generation of the pooler that takes new logins; a refusal when there is none."""
        if not self.seen.pooler:
            raise Unavailable("no_pooler", say("PgBouncer is not running"))
        return self.seen.pooler[-1]

    @property
    def repair(self) -> Phrase:
        """The command that puts right what Howdah keeps."""
        return say("run `howdah repair {name}`", name=self.want.name)
