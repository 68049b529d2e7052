"""PgBouncer in front of the instance: the settings that people may choose.

Ranges are held here because PgBouncer takes -1 and wraps large integers silently (src/main.c cf_set_int; seen on 1.18 and 1.25).
What must not be chosen (authentication, TLS, paths) is simply not in the list. Nor is transaction_timeout (1.25): with it PgBouncer ends a
lookup of a user that its janitor meets, whatever its age, and the login with "bouncer config error" (seen on 1.26.1: "closing because:
transaction timeout (age=3s)" at 120 s, one login in a hundred). idle_transaction_timeout, and PostgreSQL's own from 17 on, do no such harm.
"""

from howdah.catalog.extensions import Extension, Setting
from howdah.phrase import say

MODES = ("session", "transaction", "statement")
_YEAR = 31_536_000

_SETTINGS = (
    Setting(
        "pool_mode",
        "enum",
        say(
            "when a server connection goes back to the pool: at the end of a session, transaction or statement; "
            "default transaction where PgBouncer carries prepared statements (1.21 and newer), else session"
        ),
        None,
        choices=MODES,
        swaps=True,  # a RELOAD takes prepared statements (and a session's state) from who is connected
    ),
    Setting(
        "max_client_conn",
        "integer",
        say("how many clients may be connected; default 1000, or as many as file descriptors allow"),
        None,
        1,
        1_000_000,
    ),
    Setting("listen_port", "integer", say("TCP port for clients; default the first free one from 6432"), None, 1024, 65535, swaps=True),
    Setting(
        "processes",
        "integer",
        say("PgBouncer processes that share the port, and divide every limit; default one for two cores, at most 4"),
        None,
        1,
        8,
        told=False,
        swaps=True,
    ),
    Setting("default_pool_size", "integer", say("server connections for each user and database"), "20", 1, 10_000),
    Setting("min_pool_size", "integer", say("server connections kept open even when idle"), "0", 0, 10_000),
    Setting("reserve_pool_size", "integer", say("further server connections when clients wait"), "0", 0, 10_000),
    Setting("reserve_pool_timeout", "seconds", say("how long a client waits before the reserve is used"), "5", 0, _YEAR),
    Setting(
        "max_db_connections", "integer", say("most server connections for one database; default what PostgreSQL can give"), None, 1, 100_000
    ),
    Setting("max_user_connections", "integer", say("most server connections for one user; 0 is no limit"), "0", 0, 100_000),
    Setting(
        "max_prepared_statements",
        "integer",
        say("prepared statements carried for each client in transaction mode; 0 turns it off"),
        "200",
        0,
        100_000,
        since=(1, 21),
        swaps=True,  # reloaded to 0, it forgets those of who is connected
    ),
    Setting("server_idle_timeout", "seconds", say("close a server connection idle for longer"), "600", 0, _YEAR),
    Setting("server_lifetime", "seconds", say("close a server connection older than this when it is idle"), "3600", 0, _YEAR),
    Setting("server_connect_timeout", "seconds", say("give up connecting to PostgreSQL after"), "15", 1, 3600),
    Setting(
        "server_login_retry",
        "seconds",
        say("wait this long after a failed login to PostgreSQL; a high value prolongs outages"),
        "0.1",
        0,
        3600,
    ),
    Setting("client_login_timeout", "seconds", say("disconnect a client that has not logged in after"), "15", 1, 3600),
    Setting("client_idle_timeout", "seconds", say("disconnect a client idle for longer; 0 is never"), "0", 0, _YEAR),
    Setting(
        "idle_transaction_timeout", "seconds", say("disconnect a client idle inside a transaction for longer; 0 is never"), "0", 0, _YEAR
    ),
    Setting("query_timeout", "seconds", say("disconnect a client whose query runs longer; 0 is never"), "0", 0, _YEAR),
    Setting("query_wait_timeout", "seconds", say("disconnect a client that waited longer for a server connection"), "60", 0, _YEAR),
    Setting("listen_backlog", "integer", say("connections that may wait to be accepted"), "4096", 16, 65_535, swaps=True),
    Setting("tcp_keepidle", "seconds", say("idle time before TCP asks whether the client is there"), "60", 1, 32_767, whole=True),
    Setting("tcp_keepintvl", "seconds", say("time between such questions"), "10", 1, 32_767, whole=True),
    Setting("tcp_keepcnt", "integer", say("unanswered questions before the connection is closed"), "6", 1, 127),
    Setting(
        "application_name_add_host",
        "boolean",
        # PgBouncer then sends SET application_name whenever a server connection goes to another client: half the throughput of short reads
        say("add the client's address to application_name; default on in session mode, where it costs nothing"),
        None,
    ),
    Setting("log_connections", "boolean", say("log each login"), "0"),
    Setting("log_disconnections", "boolean", say("log each disconnection"), "0"),
)

EXTENSION = Extension(
    name="pooler",
    title=say("Connection pooler"),
    description=say("PgBouncer in front of PostgreSQL: TLS and SCRAM on its own port, server connections shared by many clients"),
    package="pgbouncer",
    settings={setting.name: setting for setting in _SETTINGS},
    program="pgbouncer",
    port="listen_port",
)
