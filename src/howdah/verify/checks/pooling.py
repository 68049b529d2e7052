"""The pooler: that it really pools, that its second hop never leaves the machine, and that it has loaded what is wanted."""

from __future__ import annotations

from howdah.core import budget
from howdah.core import files as texts
from howdah.errors import Invalid
from howdah.phrase import say
from howdah.verify.look import Context
from howdah.verify.report import Finding, check, failed, passed, warned

CONSOLE_USER = "pgbouncer"
# below this version the lookup runs in the database that the client asked for
_AUTH_DBNAME = (1, 19)


@check("really-pooled", "pooled", say("sessions share server connections"), "high")
def really_pooled(context: Context) -> Finding:
    pids = context.tried.backends
    mode = context.pooler.config.get("pool_mode", "")
    told = ", ".join(str(pid) for pid in pids)
    if len(set(pids)) == len(pids):
        return failed(say("each session got a backend of its own: {pids}", pids=told), context.repair)
    return passed(say("{mode} mode, backends of {count} sessions: {pids}", mode=mode, count=len(pids), pids=told))


@check("second-hop-local", "pooled", say("the second hop is a unix socket and never the network"), "critical")
def second_hop_local(context: Context) -> Finding:
    pid, views = context.tried.right.backend, context.look.logins.views
    row = next((row for row in views.backends if row.pid == pid and pid), None)
    server = next((row for row in views.pool if row.side == "server" and row.backend == pid), None)
    if row is None or server is None:
        return failed(say("no view shows the server connection of backend {pid}", pid=pid or "-"), context.repair)
    if row.address is not None or not server.address.startswith("unix"):
        return failed(say("backend {pid} is reached from {address}", pid=pid, address=row.address or server.address), context.repair)
    return passed(
        say("backend {pid}: pg_stat_activity has no client address, SHOW SERVERS says {address}", pid=pid, address=server.address)
    )


@check("lookup-as-shipped", "pooled", say("the function that shows PgBouncer the verifiers is as shipped"), "critical")
def lookup_as_shipped(context: Context) -> Finding:
    inside, everywhere = context.inside, context.seen.facts.pooler_version < _AUTH_DBNAME
    needed = dict(inside) if everywhere else {name: each for name, each in inside.items() if name == "postgres"}
    stray = {name: each for name, each in inside.items() if each.lookup}
    wrong = sorted(name for name, each in {**stray, **needed}.items() if not each.lookup_right)
    closed = sorted(name for name, each in needed.items() if not each.lookup_connect)
    if wrong or not needed:
        return failed(say("missing or altered in {names}", names=", ".join(wrong) or "postgres"), context.repair)
    if closed:
        return failed(say("the lookup role may not connect to {names}", names=", ".join(closed)), context.repair)
    return passed(say("body, owner, search_path and rights agree in {names}", names=", ".join(sorted(needed))))


@check("pooler-loaded", "pooled", say("PgBouncer runs with the settings that are wanted"), "critical")
def pooler_loaded(context: Context) -> Finding:
    pair = next((pair for pair in context.seen.disk.pairs.get("pooled", ()) if pair.trusted), None)
    if pair is None:
        return failed(say("it has no certificate"), context.repair)
    files = texts.pooler_files(context.want, context.seen.layout, pair, context.seen.facts, context.pooler.number)
    every, configs = texts.wanted_configs(files), context.pooler.configs
    if len(every) != len(configs):
        return failed(say("{count} processes run, and {wanted} are wanted", count=len(configs), wanted=len(every)), context.repair)
    wanted = [{name: value for name, value in each.items() if name != "ignore_startup_parameters"} for each in every]
    differing = {n for each, c in zip(wanted, configs, strict=True) for n, v in each.items() if not texts.config_holds(n, v, c.get(n))}
    if differing:
        return failed(say("SHOW CONFIG differs in {names}", names=", ".join(sorted(differing))), context.repair)
    if context.pooler.loaded != texts.pooler_digest(files):
        return failed(say("it has loaded another file than the one that is wanted"), context.repair)
    return passed(say("SHOW CONFIG agrees in {count} settings; digest {digest}", count=len(wanted[0]), digest=context.pooler.loaded))


@check("pooler-kept", "pooled", say("a PgBouncer that dies is started again"), "high")
def pooler_kept(context: Context) -> Finding:
    pooler = context.pooler
    if not (pooler.alive and pooler.reachable):
        return failed(say("its console does not answer"), context.repair)
    if not pooler.keeper:
        return failed(say("PgBouncer runs, but nothing would start it again"), context.repair)
    older = len(context.seen.pooler) - 1
    return passed(say("a keeper holds its sockets; older generations still draining: {older}", older=older))


@check("nothing-paused", "pooled", say("no database is paused or disabled"), "high")
def nothing_paused(context: Context) -> Finding:
    halted = sorted({name for each in context.seen.pooler for name in each.halted})
    if halted:
        return failed(say("{names} are paused or disabled", names=", ".join(halted)), context.repair)
    return passed(say("SHOW DATABASES shows none"))


@check("connections-fit", "pooled", say("the connections that the pooler may open fit into PostgreSQL"), "medium")
def connections_fit(context: Context) -> Finding:
    facts = context.seen.facts
    most = int(context.server.settings.get("max_connections", "0"))
    each, clients = context.pooler.total("max_db_connections"), context.pooler.total("max_client_conn")
    numbers = {"most": most, "each": each, "databases": budget.pool_databases(context.want), "clients": clients, "nofile": facts.nofile}
    evidence = say(
        "max_connections {most}; max_db_connections {each} for {databases} databases; max_client_conn {clients}, open files {nofile}",
        **numbers,
    )
    fix = say("run `howdah extensions set {name} pooler max_db_connections=N max_client_conn=N`", name=context.want.name)
    try:
        budget.check(context.want, facts)
    except Invalid as refusal:
        return failed(refusal.message, refusal.hint or fix)
    if each == 0 or each > most - budget.RESERVED or clients > budget.largest_clients(context.want, facts):
        return failed(evidence, fix)
    return warned(evidence, fix) if each * numbers["databases"] > most else passed(evidence)


@check("pooler-files", "pooled", say("PgBouncer's files are as wanted: the next start will be like this one"), "high")
def pooler_files(context: Context) -> Finding:
    pair = next((pair for pair in context.seen.disk.pairs.get("pooled", ()) if pair.trusted), None)
    if pair is None:
        return failed(say("it has no certificate"), context.repair)
    wanted = texts.pooler_files(context.want, context.seen.layout, pair, context.seen.facts, context.pooler.number)
    seen = context.pooler.files
    altered = [each.name for each in wanted if each.name not in seen or seen[each.name].digest != texts.digest(each.text)]
    if altered:
        return failed(say("{names} are not as wanted", names=", ".join(altered)), context.repair)
    return passed(say("{names}", names=", ".join(each.name for each in wanted)))


@check("pooler-secrets", "pooled", say("PgBouncer keeps no password of its own (CVE-2026-107350)"), "critical")
def pooler_secrets(context: Context) -> Finding:
    file, size = context.pooler.config.get("auth_file", ""), context.look.pool.secrets  # one file for all processes
    if size or not file:
        return failed(say("{file} has {count} bytes", file=file or "auth_file", count=size), context.repair)
    return passed(say("{file} is empty: users come by the lookup alone", file=file))


@check("console-narrow", "pooled", say("the console is for the pooler's own user alone"), "high")
def console_narrow(context: Context) -> Finding:
    found = [{name: config.get(name, "") for name in ("admin_users", "stats_users")} for config in context.pooler.configs]
    evidence = say("{settings}", settings=", ".join(dict.fromkeys(f"{name}={value}" for each in found for name, value in each.items())))
    right = all(each == {"admin_users": CONSOLE_USER, "stats_users": ""} for each in found)
    return passed(evidence) if right else failed(evidence, context.repair)


@check("pool-targets", "pooled", say("every database of the pooler leads to this PostgreSQL, as the client itself"), "critical")
def pool_targets(context: Context) -> Finding:
    here = (str(context.seen.layout.socket_dir), context.want.port, "")
    targets = context.look.pool.targets
    astray = [
        f"{name} → {each.user}@{each.host}:{each.port}" for name, each in targets.items() if (each.host, each.port, each.user) != here
    ]
    if astray:
        return failed(say("SHOW DATABASES: {targets}", targets=", ".join(astray)), context.repair)
    return passed(say("SHOW DATABASES: {names}, all at {place}", names=", ".join(targets) or "-", place=here[0]))
