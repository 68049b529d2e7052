"""What lies on disk: keys, data and secrets are kept from every other user of the machine."""

from __future__ import annotations

from howdah.core.seat import Kept, KeptKind
from howdah.phrase import Phrase, say
from howdah.verify.look import Context
from howdah.verify.report import Finding, check, failed, passed, skipped


@check("keys-private", "instance", say("private keys are readable by their server alone"), "critical")
def keys_private(context: Context) -> Finding:
    return _kept(context, "key")


@check("data-private", "instance", say("the data directory is closed to others"), "critical")
def data_private(context: Context) -> Finding:
    return _kept(context, "data")


@check("configuration-private", "instance", say("configuration can be read and changed by its server alone"), "high")
def configuration_private(context: Context) -> Finding:
    return _kept(context, "configuration")


@check("sockets-private", "instance", say("only the pooler may come to PostgreSQL's unix socket"), "high")
def sockets_private(context: Context) -> Finding:
    return _kept(context, "socket")


@check("secrets-private", "instance", say("passwords and the store are readable by their owner alone"), "critical")
def secrets_private(context: Context) -> Finding:
    return _kept(context, "secret")


@check("logs-private", "instance", say("logs are readable by their server alone"), "medium")
def logs_private(context: Context) -> Finding:
    return _kept(context, "log")


@check("places-closed", "instance", say("nobody else may put anything where an instance lives"), "high")
def places_closed(context: Context) -> Finding:
    return _kept(context, "place")


@check("authority-apart", "instance", say("the servers cannot read the authority's key"), "critical")
def authority_apart(context: Context) -> Finding:
    found = _kept(context, "ca-key")
    facts = context.seen.facts
    servers = {facts.server_user, facts.pooler_user}
    owner = next((kept.owner for kept in context.look.kept if kept.kind == "ca-key"), "")
    if found.result != "pass" or owner not in servers:
        return found
    reason = say("the servers run as {owner}, who owns it; made as root, they have users of their own", owner=owner)
    return skipped(reason)


def _kept(context: Context, kind: KeptKind) -> Finding:
    kept = [entry for entry in context.look.kept if entry.kind == kind]
    open_ = [entry for entry in kept if entry.mode & ~entry.widest or entry.owner not in entry.owners]
    if open_:
        return failed(say("{entries}", entries="; ".join(_told(entry) for entry in open_)), _fix(context, open_[0]))
    if not kept:
        return skipped(say("there is none"))
    return passed(say("{count} looked at: {entries}", count=len(kept), entries="; ".join(_told(entry) for entry in kept[:3])))


def _told(kept: Kept) -> str:
    return f"{kept.path} {kept.mode:04o} {kept.owner}"


def _fix(context: Context, kept: Kept) -> Phrase:
    owner = min(kept.owners, default=kept.owner)
    change = say("chown {owner} {path}; chmod {mode} {path}", owner=owner, path=kept.path, mode=f"{kept.mode & kept.widest:04o}")
    return say("{change}; then run `howdah repair {name}`", change=change, name=context.want.name)
