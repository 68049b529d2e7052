"""What PostgreSQL says of itself: its rules of admission, what it has loaded, the passwords that it stores, and whether it keeps data."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from howdah.catalog.extensions import catalog
from howdah.catalog.policy import policy_of
from howdah.core import files as texts
from howdah.core.instance import CONTROL_ROLE
from howdah.core.seat import Rule
from howdah.phrase import say
from howdah.verify.look import Context
from howdah.verify.report import Finding, check, failed, passed, warned

_SHOWN = 5
_PREFIX = {"time": ("%t", "%m", "%n"), "process": ("%p", "%c"), "user": ("%u",), "database": ("%d",)}
# `trusted = true` in their control files: who may create in a database may have them (PostgreSQL 13 to 18)
TRUSTED = {
    *("bool_plperl", "btree_gin", "btree_gist", "citext", "cube", "dict_int", "fuzzystrmatch", "hstore", "intarray", "isn"),
    *("jsonb_plperl", "lo", "ltree", "pg_trgm", "pgcrypto", "plperl", "plpgsql", "pltcl", "seg", "tablefunc", "tcn"),
    *("tsm_system_rows", "tsm_system_time", "unaccent", "uuid-ossp"),
}


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


@check("networks-narrow", "instance", say("PostgreSQL admits from no network that was not allowed"), "high")
def networks_narrow(context: Context) -> Finding:
    allowed = [ipaddress.ip_network(each) for each in texts.networks(context.want.direct)]
    admitted = {rule.address for rule in context.look.rules if rule.kind != "local" and rule.method != "reject"}
    wide = sorted(address or "-" for address in admitted if not _within(address, allowed))
    if wide:
        return failed(say("pg_hba.conf admits from {networks}", networks=", ".join(wide)), context.repair)
    return passed(say("{networks}", networks=", ".join(str(each) for each in allowed)))


def _within(address: str, allowed: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Tell whether an address with its mask lies in one of these networks; a name (all, samenet, a host) does in none."""
    where, _, mask = address.partition("/")
    try:
        bits = int(ipaddress.ip_address(mask)).bit_count()  # a mask of IPv6 is not what ip_network() reads
        network = ipaddress.ip_network(f"{where}/{bits}")
    except ValueError:
        return False
    return any(network.version == each.version and network.subnet_of(each) for each in allowed)  # type: ignore[arg-type]


@check("listens-as-wanted", "both", say("it listens where it was told to, and nowhere else"), "high")
def listens_as_wanted(context: Context) -> Finding:
    seen = context.server.listens if context.hop == "direct" else context.look.pool.listens
    wanted = {(ipaddress.ip_address(each), context.endpoint.port) for each in context.want.reach(context.hop).listen}
    found = {(ipaddress.ip_address(address), port) for address, port in seen}
    told = ", ".join(sorted(f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address, port in seen)) or "-"
    evidence = say("its own sockets: {addresses}", addresses=told)
    return passed(evidence) if found == wanted else failed(evidence, context.repair)


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
    outvoted = sorted(server.outvoted & texts.server_parameters(context.want, context.seen.layout, pair).keys())
    if outvoted:
        fix = say("take it away as a superuser: ALTER ROLE ALL RESET {setting}", setting=outvoted[0])
        return warned(say("ALTER ROLE ALL SET outvotes {names} in every session", names=", ".join(outvoted)), fix)
    return passed(say("digest {digest}; no error in postgresql.conf, pg_hba.conf and pg_ident.conf", digest=wanted))


@check("settings-ours", "instance", say("no setting that Howdah keeps comes from anywhere else"), "high")
def settings_ours(context: Context) -> Finding:
    strangers = [each for each in context.look.strangers if "/" in each.where or policy_of(each.name).kind != "open"]
    if strangers:
        names = ", ".join(f"{each.name}={each.value} ({each.where})" for each in strangers[:_SHOWN])
        fix = say("run `howdah repair {name}`; what was set for a role or a database: ALTER … RESET", name=context.want.name)
        return failed(say("{settings}", settings=names), fix)
    count = len(context.look.strangers)
    return passed(say("all from postgresql.conf; other settings of single roles and databases: {count}", count=count))


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


@check("memberships-narrow", "instance", say("no role reaches beyond the database"), "high")
def memberships_narrow(context: Context) -> Finding:
    found = [f"{each.member} → {each.role}" for each in context.look.memberships]
    if found:
        fix = say("take it away where it is not needed: REVOKE … FROM …, ALTER ROLE … NOBYPASSRLS")
        return failed(say("{memberships}", memberships=", ".join(found[:_SHOWN])), fix)
    return passed(say("nobody is a member of the roles that run programs, reach files or are Howdah's own; nobody has BYPASSRLS"))


@check("extensions-trusted", "instance", say("SQL extensions are of PostgreSQL's trusted ones, or of the catalogue"), "medium")
def extensions_trusted(context: Context) -> Finding:
    ours = {entry.creates for entry in catalog().values() if entry.creates}
    found = {name: sorted(inside.extensions - ours - TRUSTED) for name, inside in context.inside.items()}
    other = [f"{extension} ({database})" for database, names in sorted(found.items()) for extension in names]
    if other:
        fix = say("DROP EXTENSION where it is not needed: it may reach files, programs or other servers with the server's rights")
        return warned(say("{extensions}", extensions=", ".join(other[:_SHOWN])), fix)
    known = sorted({name for inside in context.inside.values() for name in inside.extensions})
    return passed(say("{extensions}", extensions=", ".join(known) or "-"))


@check("log-tells-who", "instance", say("each line of the log says when, who and where"), "low")
def log_tells_who(context: Context) -> Finding:
    prefix = context.server.settings.get("log_line_prefix", "")
    lacking = [name for name, signs in _PREFIX.items() if not any(sign in prefix for sign in signs)]
    if lacking:
        fix = say("run `howdah params unset {name} log_line_prefix`", name=context.want.name)
        return warned(say("log_line_prefix={prefix} lacks {names}", prefix=repr(prefix), names=", ".join(lacking)), fix)
    return passed(say("log_line_prefix={prefix}", prefix=repr(prefix)))


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
    evidence = say("{settings}", settings=", ".join(f"{name}={value}" for name, value in found.items()))
    if set(found.values()) != {"on"}:
        return failed(evidence, say("run `howdah params set {name} fsync=on full_page_writes=on`", name=context.want.name))
    relaxed = settings.get("synchronous_commit") == "off"
    lost = say("synchronous_commit=off: a crash may lose the last commits")
    return warned(lost, say("run `howdah params unset {name} synchronous_commit`", name=context.want.name)) if relaxed else passed(evidence)
