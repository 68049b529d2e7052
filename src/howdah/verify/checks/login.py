"""Who gets in and who does not: the probe role with its password, and nobody else.

A refusal proves something only where a right login works: else it is not counted.
"""

from __future__ import annotations

from howdah.core.instance import CONTROL_ROLE, LOOKUP_ROLE
from howdah.phrase import Phrase, say
from howdah.verify.client import Login
from howdah.verify.look import NOBODY, Context
from howdah.verify.report import Finding, check, failed, passed, skipped
from howdah.wire import Answer

_SASL = "10"
_PROVES_NOTHING = say("a right login does not work either, so a refusal proves nothing")
_SCRAM = {"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}


@check("scram-only", "both", say("a password is asked for by SCRAM-SHA-256 alone"), "critical")
def scram_only(context: Context) -> Finding:
    answer = context.tried.asked
    if answer.kind == "authentication" and answer.code == _SASL and answer.mechanisms and set(answer.mechanisms) <= _SCRAM:
        return passed(say("it offers {mechanisms}", mechanisms=", ".join(answer.mechanisms)))
    asked = {"0": "nothing at all", "3": "the password in clear", "5": "MD5"}.get(answer.code, f"{answer.kind} {answer.code}")
    words = say("{asked} {words}", asked=asked, words=answer.message)
    return failed(say("a login begins with: {words}", words=words), context.repair)


@check("login-works", "both", say("a login with the right password works, verified in full"), "critical")
def login_works(context: Context) -> Finding:
    right = context.tried.right
    if not right.admitted:
        return failed(say("{role} was not let in: {words}", role=context.look.logins.role, words=right.words), context.repair)
    sslmode = "verify-full" if context.want.tls else "disable"
    milliseconds = round(right.milliseconds)
    return passed(say("sslmode={sslmode}, first answer after {milliseconds} ms", sslmode=sslmode, milliseconds=milliseconds))


@check("wrong-password-refused", "both", say("a wrong password is refused"), "critical")
def wrong_password_refused(context: Context) -> Finding:
    return _refused(context, context.tried.wrong)


@check("no-password-refused", "both", say("nobody gets in without a password"), "critical")
def no_password_refused(context: Context) -> Finding:
    return _refused(context, context.tried.without)


@check("unknown-role-refused", "both", say("an unknown role is refused"), "high")
def unknown_role_refused(context: Context) -> Finding:
    return _refused(context, context.tried.unknown, say("as {role}", role=NOBODY))


@check("expired-role-refused", "both", say("a role whose VALID UNTIL has passed is refused (CVE-2025-2291)"), "high")
def expired_role_refused(context: Context) -> Finding:
    return _refused(context, context.tried.expired, say("with the right password"))


def _refused(context: Context, login: Login, how: Phrase | None = None) -> Finding:
    """Judge a login that must not succeed."""
    if login.admitted:
        return failed(say("it was let in {how}", how=how or say("all the same")), context.repair)
    if not context.tried.right.admitted:
        return skipped(_PROVES_NOTHING, context.repair)
    if not login.refused:
        return failed(say("cannot tell: {words}", words=login.words), context.repair)
    return passed(say("it answered: {words}", words=login.words))


@check("locked-role-refused", "both", say("a role that was locked is refused, though it was connected before"), "critical")
def locked_role_refused(context: Context) -> Finding:
    return _refused(context, context.tried.locked, say("after NOLOGIN"))


@check("refusals-alike", "direct", say("a refusal does not tell which roles there are"), "medium")
def refusals_alike(context: Context) -> Finding:
    # PgBouncer (to 1.26) says "no such user" when the lookup finds none, whatever is configured: the pooled hop is not asked.
    role, wrong, unknown = context.look.logins.role, context.tried.wrong, context.tried.unknown
    if not context.tried.right.admitted:
        return skipped(_PROVES_NOTHING, context.repair)
    if not (wrong.refused and unknown.refused):
        return failed(say("cannot tell: {words}", words=wrong.words if not wrong.refused else unknown.words), context.repair)
    said, other = wrong.words.replace(role, "…"), unknown.words.replace(NOBODY, "…")
    if said != other:
        return failed(say("a wrong password: {words}; an unknown role: {other}", words=said, other=other), context.repair)
    return passed(say("both times: {words}", words=said))


@check("control-role-refused", "both", say("the control role cannot log in over the network"), "critical")
def control_role_refused(context: Context) -> Finding:
    return _closed(context, context.told.control, CONTROL_ROLE)


@check("lookup-role-refused", "both", say("the lookup role cannot log in over the network"), "critical")
def lookup_role_refused(context: Context) -> Finding:
    return _closed(context, context.told.lookup, LOOKUP_ROLE)


def _closed(context: Context, answer: Answer, role: str) -> Finding:
    if answer.kind == "error":
        return passed(say("it answered: {words}", words=answer.message))
    if answer.kind != "authentication":
        return failed(say("cannot tell: {kind} {words}", kind=answer.kind, words=answer.message), context.repair)
    hidden = context.hop == "pooled" and all(inside.lookup_right for inside in context.inside.values() if inside.lookup)
    if hidden:
        # newer PgBouncers go through the motions for a role that they do not know, so that nobody learns which roles there are
        return passed(say("it asks for a password that it does not have: the lookup function hides {role}", role=role))
    return failed(say("it asks for the password of {role}", role=role), context.repair)


@check("template-closed", "both", say("template1 admits nobody over the network"), "medium")
def template_closed(context: Context) -> Finding:
    answer = context.tried.template
    if answer.kind == "error":
        return passed(say("it answered: {words}", words=answer.message))
    return failed(say("a login to template1 begins with: {kind} {code} {words}", **_said(answer)), context.repair)


@check("console-closed", "pooled", say("PgBouncer's console is closed to the network"), "critical")
def console_closed(context: Context) -> Finding:
    answer = context.told.console
    if answer.kind == "error":
        return passed(say("it answered: {words}", words=answer.message))
    return failed(say("a login to the console begins with: {kind} {code} {words}", **_said(answer)), context.repair)


def _said(answer: Answer) -> dict[str, str]:
    return {"kind": answer.kind, "code": answer.code, "words": answer.message}


@check("cancel-works", "both", say("a running statement can be cancelled"), "medium")
def cancel_works(context: Context) -> Finding:
    cancel = context.tried.cancel
    if not context.tried.right.admitted:
        return skipped(say("a right login does not work, so nothing could be begun"), context.repair)
    if not cancel.worked:
        fix = say("let nothing stand between clients and the port that keeps their cancel requests from it")
        return failed(say("it was not: {words}", words=cancel.words), fix)
    return passed(say("{words}, after {milliseconds} ms", words=cancel.words, milliseconds=round(cancel.milliseconds)))


@check("session-encrypted", "both", say("the server itself sees the session encrypted"), "critical", tls=True)
def session_encrypted(context: Context) -> Finding:
    return _seen_by_postgres(context) if context.hop == "direct" else _seen_by_pgbouncer(context)


def _seen_by_postgres(context: Context) -> Finding:
    pid = context.tried.right.backend
    row = next((row for row in context.look.logins.views.backends if row.pid == pid and pid), None)
    if row is None or not row.tls:
        return failed(say("pg_stat_ssl shows no TLS for backend {pid}", pid=pid or "-"), context.repair)
    found = {"pid": pid, "address": row.address, "version": row.tls, "cipher": row.cipher}
    return passed(say("pg_stat_ssl, backend {pid} from {address}: {version} {cipher}", **found))


def _seen_by_pgbouncer(context: Context) -> Finding:
    clients = [row for row in context.look.logins.views.pool if row.side == "client"]
    plain = [row.address for row in clients if not row.tls]
    if plain or not clients:
        return failed(say("SHOW CLIENTS shows no TLS for {addresses}", addresses=", ".join(plain) or "-"), context.repair)
    return passed(say("SHOW CLIENTS, {address}: {tls}", address=clients[0].address, tls=clients[0].tls))


@check("no-plaintext-session", "both", say("no session is open that began in plaintext"), "critical", tls=True)
def no_plaintext_session(context: Context) -> Finding:
    if context.hop == "direct":
        plain, every = context.server.plaintext, len(context.server.sessions)
    else:
        plain = tuple(session for each in context.seen.pooler for session in each.plaintext)
        every = sum(len(each.clients) for each in context.seen.pooler)
    if plain:
        names = ", ".join(str(session) for session in plain[:5])
        fix = say("let them connect anew, or end them: `howdah params set {name} ssl=on --yes`", name=context.want.name)
        return failed(say("{count} open: {names}", count=len(plain), names=names), fix)
    return passed(say("{count} sessions, all encrypted", count=every))


@check("locked-have-left", "both", say("nobody is connected who may not log in"), "high")
def locked_have_left(context: Context) -> Finding:
    roles = context.server.roles
    sessions = context.server.sessions if context.hop == "direct" else tuple(s for each in context.seen.pooler for s in each.clients)
    locked = [str(session) for session in sessions if session.user not in roles or not roles[session.user].login]
    if locked:
        fix = say("end them: SELECT pg_terminate_backend(pid); those of the pooler: `howdah restart {name}`", name=context.want.name)
        return failed(say("{count} open: {names}", count=len(locked), names=", ".join(locked[:5])), fix)
    return passed(say("{count} sessions, all of roles that may log in", count=len(sessions)))
