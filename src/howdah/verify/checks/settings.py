"""What PostgreSQL says of itself: its rules of admission, what it has loaded, the passwords that it stores, and whether it keeps data."""

from __future__ import annotations

from howdah.core import files as texts
from howdah.core.instance import CONTROL_ROLE
from howdah.core.seat import Rule
from howdah.phrase import say
from howdah.verify.look import Context
from howdah.verify.report import Finding, check, failed, passed, warned

_SHOWN = 5


@check("rules-strict", "instance", say("pg_hba.conf has no rule that admits without TLS or without SCRAM"), "critical")
def rules_strict(context: Context) -> Finding:
    rules = context.look.rules
    lax = [f"{rule.line}: {rule.kind} {rule.method}" for rule in rules if not _strict(rule, context.want.tls)]
    if lax or not rules:
        return failed(say("line {lines}", lines="; ".join(lax) or "-"), context.repair)
    methods = ", ".join(sorted({f"{rule.kind} {rule.method}" for rule in rules}))
    return passed(say("{count} lines: {methods}", count=len(rules), methods=methods))


def _strict(rule: Rule, tls: bool) -> bool:
    if rule.method == "reject":
        return True
    if rule.kind == "local":
        return rule.method in ("peer", "scram-sha-256")
    return rule.method == "scram-sha-256" and (rule.kind == "hostssl" or (rule.kind == "host" and not tls))


@check("configuration-loaded", "instance", say("PostgreSQL has loaded the configuration that is wanted"), "high")
def configuration_loaded(context: Context) -> Finding:
    server, disk = context.server, context.seen.disk
    if server.errors:
        return failed(say("PostgreSQL reports {errors}", errors="; ".join(server.errors[:_SHOWN])), context.repair)
    newer = sorted(name for name, found in disk.files.items() if found.ctime > server.loaded_at)
    pair = next((pair for pair in disk.pairs.get("direct", ()) if pair.trusted), None)
    if newer or pair is None:
        return failed(say("{names} changed after it was loaded", names=", ".join(newer) or "TLS"), context.repair)
    files = texts.server_files(context.want, context.seen.layout, pair, context.seen.facts)
    altered = [each.name for each in files if each.name not in disk.files or disk.files[each.name].digest != texts.digest(each.text)]
    if altered:
        return failed(say("{names} are not as wanted", names=", ".join(altered)), context.repair)
    wanted = texts.carried_digest(files)
    if server.digest != wanted:
        return failed(say("it reports digest {digest}, wanted is {wanted}", digest=server.digest or "-", wanted=wanted), context.repair)
    return passed(say("digest {digest}; no error in postgresql.conf, pg_hba.conf and pg_ident.conf", digest=wanted))


@check("restart-pending", "instance", say("no setting waits for a restart"), "low")
def restart_pending(context: Context) -> Finding:
    waiting = sorted(context.server.pending)
    if waiting:
        return warned(say("{names} wait", names=", ".join(waiting)), say("run `howdah restart {name}`", name=context.want.name))
    return passed(say("none does"))


@check("passwords-scram", "instance", say("every stored password is a SCRAM verifier"), "high")
def passwords_scram(context: Context) -> Finding:
    weak, encryption = sorted(context.look.weak_secrets), context.server.settings.get("password_encryption", "")
    if weak:
        fix = say("run `howdah users password {name} {role}`", name=context.want.name, role=weak[0])
        return failed(say("not of {roles}", roles=", ".join(weak[:_SHOWN])), fix)
    evidence = say("password_encryption={value}; no other verifier is stored", value=encryption)
    return passed(evidence) if encryption == "scram-sha-256" else failed(evidence, context.repair)


@check("roles-narrow", "instance", say("nobody but the control role has its powers"), "medium")
def roles_narrow(context: Context) -> Finding:
    roles = {name: role for name, role in context.server.roles.items() if name != CONTROL_ROLE}
    powerful = sorted(name for name, role in roles.items() if role.superuser or role.replication or role.createrole)
    if powerful:
        fix = say("take it away where it is not needed: ALTER ROLE … NOSUPERUSER NOREPLICATION NOCREATEROLE")
        return warned(say("{roles}: SUPERUSER, REPLICATION or CREATEROLE", roles=", ".join(powerful[:_SHOWN])), fix)
    return passed(say("{count} roles without SUPERUSER, REPLICATION and CREATEROLE", count=len(roles)))


@check("checksums-on", "instance", say("data pages carry checksums"), "medium")
def checksums_on(context: Context) -> Finding:
    value = context.server.settings.get("data_checksums", "")
    evidence = say("data_checksums={value}", value=value or "-")
    fix = say("stop the instance with `howdah stop {name}`, run pg_checksums --enable, start it", name=context.want.name)
    return passed(evidence) if value == "on" else failed(evidence, fix)


@check("writes-durable", "instance", say("what was committed is on disk"), "critical")
def writes_durable(context: Context) -> Finding:
    settings = context.server.settings
    found = {name: settings.get(name, "-") for name in ("fsync", "full_page_writes")}
    outvoted = sorted(server.outvoted & texts.server_parameters(context.want, context.seen.layout, pair).keys())
    if outvoted:
        fix = say("take it away as a superuser: ALTER ROLE ALL RESET {setting}", setting=outvoted[0])
        return warned(say("ALTER ROLE ALL SET outvotes {names} in every session", names=", ".join(outvoted)), fix)
    evidence = say("{settings}", settings=", ".join(f"{name}={value}" for name, value in found.items()))
    if set(found.values()) != {"on"}:
        return failed(evidence, say("run `howdah params set {name} fsync=on full_page_writes=on`", name=context.want.name))
    relaxed = settings.get("synchronous_commit") == "off"
    lost = say("synchronous_commit=off: a crash may lose the last commits")
    return warned(lost, say("run `howdah params unset {name} synchronous_commit`", name=context.want.name)) if relaxed else passed(evidence)
