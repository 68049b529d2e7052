"""The texts of every file that servers read: pure functions of what is wanted and what is known of the machine.

Order in a PostgreSQL file: the size's defaults, then what people asked for, then what Howdah requires. Each value is quoted for its
format by one function. Every text carries a digest that its server reports back, so that "written" and "loaded" can be told apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from howdah.catalog import parameters, sizes
from howdah.catalog.extensions import Extension, extension
from howdah.catalog.parameters import Parameter
from howdah.core import lanes
from howdah.core.budget import pooler_limits, processes
from howdah.core.host import WantedFile
from howdah.core.instance import LOOKUP_ROLE, Instance, Reach
from howdah.core.lanes import Lane
from howdah.core.layout import Layout
from howdah.core.observed import Facts, Pair
from howdah.errors import Unsupported
from howdah.phrase import say

# Mozilla's "intermediate" suites for TLS 1.2; TLS 1.3 suites are OpenSSL's own
CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    )
)
LOOPBACK_NETWORKS = ("127.0.0.1/32", "::1/128")
LOOKUP_QUERY = "SELECT uname, phash FROM howdah.user_lookup($1)"
DIGEST_SETTING = "howdah.digest"


def digest(*texts: str) -> str:
    """Return the short name of a set of texts: the first 12 hex digits of their SHA-256."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


# ------------------------------------------------------------------------------------------------ PostgreSQL


def server_parameters(want: Instance, layout: Layout, pair: Pair) -> dict[str, str]:
    """Return every parameter of the server as wanted: defaults < asked for < required."""
    return {**_defaults(want), **want.parameters, **_required(want, layout, pair)}


def _defaults(want: Instance) -> dict[str, str]:
    fixed = {"timezone": "UTC", "log_timezone": "UTC", "lc_messages": "C", "datestyle": "iso, mdy", "ssl": "on"}
    logs = {"log_line_prefix": "%m [%p] %q%u@%d ", "log_connections": "off", "log_lock_waits": "on", "log_checkpoints": "on"}
    search = {"default_text_search_config": "pg_catalog.english"}
    # After a kill, PostgreSQL syncs each file of its data before it recovers: a flush of the disk for each, over a second for an empty
    # instance on a busy one. One syncfs does the same (14 and later). Before Linux 5.8 only the kernel's log told of an error in it.
    sync = {"recovery_init_sync_method": "syncfs"} if want.version >= 14 else {}
    return {**fixed, **logs, **search, **sync, **sizes.defaults(want.size, want.version), **_brought(want)}


def _brought(want: Instance) -> dict[str, str]:
    """Return the parameters that preloaded extensions bring: their defaults, and what was asked for."""
    defaults = {name: parameter.default or "" for name, parameter in extra(want).items()}
    chosen = {name: value for entry in _entries(want) for name, value in want.extensions[entry.name].items() if name in defaults}
    return {**defaults, **chosen}


def extra(want: Instance) -> dict[str, Parameter]:
    """Return the parameters that the wanted extensions add to PostgreSQL's own."""
    return {name: parameter for entry in _entries(want) for name, parameter in entry.parameters.items()}


def _entries(want: Instance) -> list[Extension]:
    return [extension(name) for name in sorted(want.extensions)]


def _required(want: Instance, layout: Layout, pair: Pair) -> dict[str, str]:
    tls = layout.tls("direct")
    required = {
        "listen_addresses": ",".join(want.direct.listen),
        "port": str(want.port),
        "unix_socket_directories": socket_directories(layout.socket_dir),
        "unix_socket_permissions": "0777",  # the directory guards it: only the server's user and the pooler's group may enter
        "cluster_name": f"howdah {want.id}",
        "password_encryption": "scram-sha-256",
        "ssl_cert_file": str(tls / f"direct.{pair.serial}.crt"),
        "ssl_key_file": str(tls / f"direct.{pair.serial}.key"),
        "ssl_min_protocol_version": "TLSv1.2",
        "ssl_ciphers": CIPHERS,
        "ssl_prefer_server_ciphers": "on",
        "logging_collector": "on",
        "log_destination": "stderr",
        "log_directory": str(layout.log),
        "log_filename": "postgresql-%Y%m%d_%H%M%S.log",
        "log_file_mode": "0600",
        "log_rotation_size": "10MB",
        "log_rotation_age": "1d",
        "shared_preload_libraries": ",".join(e.preload for e in _entries(want) if e.preload),
    }
    required["ssl_groups" if want.version >= 18 else "ssl_ecdh_curve"] = (
        "X25519:prime256v1:secp384r1" if want.version >= 18 else "prime256v1"
    )
    if want.version >= 17:
        required["allow_alter_system"] = "off"
    return required


def socket_directories(path: Path) -> str:
    """Return a path as unix_socket_directories takes it: a list element in double quotes (SplitDirectoriesString)."""
    return '"' + str(path).replace('"', '""') + '"'


def server_files(want: Instance, layout: Layout, pair: Pair, facts: Facts) -> tuple[WantedFile, ...]:
    """Return PostgreSQL's four files; postgresql.auto.conf is among them so that ALTER SYSTEM cannot outvote what is wanted."""
    values = server_parameters(want, layout, pair)
    lines = "".join(f"{name} = {parameters.quote(value)}\n" for name, value in sorted(values.items()))
    hba, ident = server_hba(want), server_ident(facts)
    conf = f"# written by howdah; change it with `howdah params set`\n{lines}"
    carried = f"{conf}{DIGEST_SETTING} = {parameters.quote(digest(conf, hba, ident))}\n"
    auto = "# kept empty by howdah; use `howdah params set`\n"
    texts = {"postgresql.conf": carried, "pg_hba.conf": hba, "pg_ident.conf": ident, "postgresql.auto.conf": auto}
    return tuple(WantedFile(name, text) for name, text in texts.items())


def carried_digest(files: Iterable[WantedFile]) -> str:
    """Return the digest that PostgreSQL reports once it has loaded these files."""
    conf = next(f.text for f in files if f.name == "postgresql.conf")
    return conf.rsplit("'", 2)[1]


def networks(reach: Reach) -> tuple[str, ...]:
    """Return the networks that one hop admits: always this machine, and what was allowed."""
    return tuple(dict.fromkeys((*LOOPBACK_NETWORKS, *reach.allow)))


def server_hba(want: Instance) -> str:
    """Return pg_hba.conf. First match wins; what is not named is refused."""
    kind = "hostssl" if want.tls else "host"
    local = ["local all postgres peer map=howdah", "local template1 all reject"]
    if want.pooler is not None:
        local.append(f"local all {LOOKUP_ROLE} peer map=howdah")
    refused = [f"{kind} all {LOOKUP_ROLE} all reject", f"{kind} all postgres all reject", f"{kind} template1 all all reject"]
    admitted = [f"{kind} all all {network} scram-sha-256" for network in networks(want.direct)]
    last = ["hostnossl all all all reject"] if want.tls else []
    return "\n".join(("# written by howdah", *local, "local all all scram-sha-256", *refused, *admitted, *last, ""))


def server_ident(facts: Facts) -> str:
    """Return pg_ident.conf: who on this machine is the control role, and who may look users up."""
    control = dict.fromkeys((facts.own_user, facts.server_user))
    lines = [f"howdah {_ident(user)} postgres" for user in control]
    return "\n".join(("# written by howdah", *lines, f"howdah {_ident(facts.pooler_user)} {LOOKUP_ROLE}", ""))


def _ident(user: str) -> str:
    """Quote a system user's name for pg_ident.conf; a leading slash would be a regular expression there."""
    if '"' in user or user.startswith("/") or not user.isprintable():
        raise Unsupported("bad_system_user", say("cannot run as the system user {user}", user=repr(user)))
    return f'"{user}"'


# ------------------------------------------------------------------------------------------------ PgBouncer


def pooler_files(want: Instance, layout: Layout, pair: Pair, facts: Facts, generation: int = 1) -> tuple[WantedFile, ...]:
    """Return the files of a generation of the pooler: one of its own for each process, and the hba file.

    That one is named by its digest, so that a new one can be tried beside the live one.
    """
    hba = pooler_hba(want)
    name = f"hba.{digest(hba)}"
    row = lanes.of(generation, processes(want, facts))
    return (WantedFile(name, hba), *(WantedFile(lane.file, pooler_ini(want, layout, pair, facts, lane)) for lane in row))


def pooler_settings(want: Instance, facts: Facts) -> dict[str, str]:
    """Return the settings that people may choose, as wanted, for the PgBouncer that is here."""
    entry = extension("pooler")
    defaults = {s.name: s.default for s in entry.settings.values() if s.default is not None}
    chosen = {**defaults, **pooler_limits(want, facts), **(want.pooler or {})}
    known = {n: v for n, v in chosen.items() if entry.settings[n].told and facts.pooler_version >= entry.settings[n].since}
    return dict(sorted(known.items()))


def pooler_tls(want: Instance, layout: Layout, pair: Pair) -> dict[str, str]:
    """Return the client side's TLS settings; these stand at the top, where a bad later line cannot reset them."""
    if not want.tls:
        return {"client_tls_sslmode": "disable"}
    certificate = str(layout.tls("pooled") / f"pooled.{pair.serial}.crt")
    return {
        "client_tls_sslmode": "require",
        "client_tls_protocols": "secure",
        "client_tls_ciphers": CIPHERS,
        "client_tls_ecdhcurve": "prime256v1",
        "client_tls_key_file": certificate.removesuffix("crt") + "key",
        "client_tls_cert_file": certificate,
        # It asks clients for a certificate even with `require` (sbuf.c, setup_tls). Without a file it then reads all authorities of the
        # system, at each start and RELOAD, which nobody is served during: 35 ms of processor for 140 of them
        "client_tls_ca_file": certificate,
    }


def either_way(lying: str, coming: str) -> str | None:
    """Return the file between one without TLS and one with it: the first, and TLS for who asks for it; None where no such turn is due.

    Whoever asked a moment ago was told that there is no TLS here, and the next that he says he says in plaintext.
    """
    plain, offered = "client_tls_sslmode = disable\n", "client_tls_sslmode = require\n"
    if plain not in lying or offered not in coming:
        return None
    lines = [line for line in coming.splitlines(keepends=True) if line.startswith("client_tls_")]
    return lying.replace(plain, "".join(lines).replace(offered, "client_tls_sslmode = allow\n"))


def pooler_ini(want: Instance, layout: Layout, pair: Pair, facts: Facts, lane: Lane) -> str:
    """Return pgbouncer.ini of one process: [databases] first, TLS at the top of [pgbouncer], the digest on the very last line.

    In this order a bad line either resets nothing or leaves the digest empty (seen on 1.18, 1.25 and 1.26).
    """
    where = f"host={_libpq(str(layout.socket_dir))} port={want.port}"
    fixed = {
        "auth_type": "hba",
        "auth_hba_file": str(layout.pool / f"hba.{digest(pooler_hba(want))}"),
        "auth_user": LOOKUP_ROLE,
        "auth_query": LOOKUP_QUERY,
        **({"auth_dbname": "postgres"} if facts.pooler_version >= (1, 19) else {}),
        "auth_file": str(layout.pool / "users.txt"),
        "admin_users": "pgbouncer",
        "so_reuseport": "1",
        "pidfile": "pid",
        "logfile": "log",
        "listen_addr": ",".join(want.pooled.listen),
        "server_tls_sslmode": "disable",  # the second hop is a unix socket, on which PostgreSQL speaks no TLS
        "server_fast_close": "1",
        **({"peer_id": str(lane.id)} if facts.pooler_version >= lanes.PEERS_SINCE else {}),
    }
    lines = {**pooler_tls(want, layout, pair), **fixed, **lane.share(pooler_settings(want, facts))}
    body = "".join(f"{name} = {value}\n" for name, value in lines.items())
    # a lookup must never sit in template1: CREATE DATABASE copies it and refuses while anyone is connected
    databases = f"[databases]\ntemplate1 = {where} dbname=postgres\n* = {where}\n"
    peers = _peers(want, layout, lane) if facts.pooler_version >= lanes.PEERS_SINCE else ""
    text = f"; written by howdah; change it with `howdah extensions set`\n{databases}{peers}[pgbouncer]\n{body}"
    return f"{text}ignore_startup_parameters = extra_float_digits,options,howdah.{digest(text)}\n"


def _peers(want: Instance, layout: Layout, lane: Lane) -> str:
    """Return the section that tells where each peer's console is: there it takes cancel requests, too."""
    port = want.hop_port("pooled")
    places = {lanes.peer_id(*each): layout.lane(*each) for each in lane.peers()}
    return "[peers]\n" + "".join(f"{number} = host={_libpq(str(place))} port={port}\n" for number, place in places.items())


def _libpq(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def pooler_digest(files: Iterable[WantedFile]) -> str:
    """Return the digests that the processes of a pooler report, in turn, once each has loaded its file to its last line."""
    return " ".join(each.text.rstrip("\n").rsplit("howdah.", 1)[1] for each in inis(files))


def inis(files: Iterable[WantedFile]) -> list[WantedFile]:
    """Return the configurations among a pooler's files, one for each process."""
    return [each for each in files if each.name.endswith(".ini")]


def pooler_hba(want: Instance) -> str:
    """Return the pooler's hba file: its console and the server's own databases are not for the network."""
    kind = "hostssl" if want.tls else "host"
    closed = [f"{kind} {database} all {network} reject" for database in ("pgbouncer", "template1") for network in ("0.0.0.0/0", "::/0")]
    admitted = [f"{kind} all all {network} scram-sha-256" for network in networks(want.pooled)]
    return "\n".join((*closed, *admitted, ""))


def wanted_config(files: Iterable[WantedFile]) -> Mapping[str, str]:
    """Return what SHOW CONFIG of the first process must say once its file is loaded."""
    return wanted_configs(files)[0]


def wanted_configs(files: Iterable[WantedFile]) -> tuple[Mapping[str, str], ...]:
    """Return what SHOW CONFIG of each process must say."""
    bodies = [each.text.split("[pgbouncer]\n", 1)[1].splitlines() for each in inis(files)]
    return tuple(dict(line.split(" = ", 1) for line in body) for body in bodies)


def config_holds(name: str, wanted: str, reported: str | None) -> bool:
    """Tell whether what SHOW CONFIG reports is what the file says; it spells some values its own way.

    >>> config_holds("server_fast_close", "1", "yes"), config_holds("query_timeout", "5", "5.0"), config_holds("pool_mode", "session", None)
    (True, True, False)
    >>> config_holds("query_timeout", "1000001", "1e+06"), config_holds("query_timeout", "1000009", "1.00002e+06")
    (True, False)
    """
    if reported is None:
        return False
    words = {"yes": "1", "no": "0", "on": "1", "off": "0", "true": "1", "false": "0"}
    left, right = words.get(wanted, wanted), words.get(reported, reported)
    if left == right:
        return True
    try:
        # it prints a time by %g, six digits: what differs beyond them cannot be seen to differ (cf_get_time_usec)
        return float(left) == float(right) or f"{float(left):g}" == right
    except ValueError:
        return False
