"""What stands in the logs of PostgreSQL, of PgBouncer and of its keeper, besides what their clients are told: also what is harmless."""

from __future__ import annotations

from typing import Final

from howdah.catalog.messages.message import Message
from howdah.phrase import say

_OLD = ("1.18",)
_NOTHING: Final = say("nothing: that is as it should be")
_STRANGER: Final = say("nothing, if it stays rare; `howdah endpoints set NAME --allow CIDR` keeps unknown networks away")
_WENT: Final = say("a client went away without saying good-bye: it was ended, its time limit passed, or the network between broke")
_NO_TLS: Final = say(
    "a client and the server could not agree on TLS: it does not trust the authority, wants an older version or other ciphers, or went away"
)
_OWN_STRING: Final = say("give the client the string of `howdah connect`; scanners and `howdah verify` cause it on purpose")
_INJECTED: Final = say(
    "bytes in the clear came together with the request for TLS: somebody between tried to inject them, or `howdah verify` did"
)
_BETWEEN: Final = say("nothing, if `howdah verify` ran then; else look for who sits between the client and the server")
_CONSOLE: Final = say("somebody worked at the pooler's console, and what was asked for did not fit its state")
_LEFT: Final = say("run `howdah repair NAME`, which leaves nothing paused")
_UNREACHED: Final = say("PostgreSQL does not run, or its socket is gone")
_REPAIR: Final = say("run `howdah repair NAME`")

LOGS: Final = (
    # --- PostgreSQL
    Message(
        "log-recovery",
        "PostgreSQL",
        "database system was not properly shut down; automatic recovery in progress",
        say("PostgreSQL or the machine ended all at once, and its log of changes is replayed: nothing that was committed is lost"),
        say("nothing; if nobody knows why it ended, look for the kernel's lines about memory: `journalctl -k`"),
    ),
    Message(
        "log-end-of-wal",
        "PostgreSQL",
        "invalid record length at …",
        say("the replay after a sudden end has come to the end of the log of changes"),
        _NOTHING,
    ),
    Message(
        "log-backend-killed",
        "PostgreSQL",
        "(PID …) was terminated by signal …",
        say("a session's process was ended from outside (9: by a person, or by the kernel for want of memory) or crashed (11)"),
        say("look for the kernel's lines about memory: `journalctl -k`; lower work_mem or max_connections: `howdah params set NAME K=V`"),
    ),
    Message(
        "log-reinitializing",
        "PostgreSQL",
        "all server processes terminated; reinitializing",
        say("a session's process ended all at once; as shared memory may be damaged, all sessions were ended and the server began anew"),
        say("the lines before this one tell which process; applications connect again by themselves"),
    ),
    Message(
        "log-client-reset",
        "PostgreSQL",
        "could not receive data from client: …",
        _WENT,
        say("nothing, if it stays rare; else see the application's own log at that time"),
    ),
    Message(
        "log-client-gone",
        "PostgreSQL",
        "could not send data to client: …",
        _WENT,
        say("nothing, if it stays rare; else see the application's own log at that time"),
    ),
    Message("log-tls", "PostgreSQL", "could not accept SSL connection: …", _NO_TLS, _OWN_STRING),
    Message(
        "log-no-startup",
        "PostgreSQL",
        "invalid length of startup packet",
        say("something that is no PostgreSQL client spoke to the port: a scanner, a browser, a health check"),
        _STRANGER,
    ),
    Message(
        "log-injection",
        "PostgreSQL",
        "buffered unencrypted data remains after negotiating SSL connection",
        _INJECTED,
        _BETWEEN,
        ("17", "18"),
    ),
    Message(
        "log-injection-old",
        "PostgreSQL",
        "received unencrypted data after SSL request",
        _INJECTED,
        _BETWEEN,
        ("13", "14", "15", "16"),
    ),
    Message(
        "log-pid-file",
        "PostgreSQL",
        'could not open file "postmaster.pid": No such file or directory',
        say("somebody removed postmaster.pid while the server ran; the server ends itself within a minute"),
        say("run `howdah repair NAME`, which starts it anew"),
    ),
    Message(
        "log-no-room",
        "PostgreSQL",
        "…: No space left on device",
        say("the disk is full; a statement that writes fails, and without room for its log of changes the server stops"),
        say("make room there (`howdah doctor` tells how much is left), then: howdah repair NAME"),
    ),
    Message(
        "log-own-probe",
        "PostgreSQL",
        "pg_hba.conf rejects connection for host …, no encryption",
        say("from this machine: Howdah itself, which proves at each look that the port refuses plaintext; else a client without TLS"),
        _NOTHING,
    ),
    Message(
        "log-worker-ended",
        "PostgreSQL",
        "background worker … exited with exit code 1",
        say("a shutdown ended the server's own helper: it always says so, in these words"),
        _NOTHING,
    ),
    # --- PgBouncer
    Message(
        "log-sockets-passed",
        "PgBouncer",
        "sockets passed from service manager, …",
        say("the keeper holds the sockets and hands them over, so that no login is lost when PgBouncer ends"),
        _NOTHING,
    ),
    Message(
        "log-is-it-paused",
        "PgBouncer",
        "a database is required",
        say("Howdah's own question whether this PgBouncer is paused, which has no other way to ask"),
        _NOTHING,
        _OLD,
    ),
    Message(
        "log-not-linked",
        "PgBouncer",
        "got packet … from server when not linked",
        say("a server connection that no client used was told something, mostly that it ends"),
        say("nothing; `howdah logs NAME --source postgres` tells why it ended"),
    ),
    Message("log-pooler-tls", "PgBouncer", "TLS handshake error: …", _NO_TLS, _OWN_STRING),
    Message(
        "log-own-probe-pooled",
        "PgBouncer",
        "pooler error: SSL required",
        say("from this machine: Howdah itself, which proves at each look that the port refuses plaintext; else a client without TLS"),
        _NOTHING,
    ),
    Message(
        "log-wrong-password",
        "PgBouncer",
        "password authentication failed",
        say("a client's password is wrong or has expired; the client is told that SASL authentication failed"),
        say("give the user a new password: `howdah users password NAME USER`"),
    ),
    Message(
        "log-partial",
        "PgBouncer",
        "client sent partial pkt in startup phase",
        say("something that is no PostgreSQL client spoke to the port: a scanner, a browser, a health check"),
        _STRANGER,
        _OLD,
    ),
    Message(
        "log-injection-pooled",
        "PgBouncer",
        "received unencrypted data after SSL request",
        _INJECTED,
        _BETWEEN,
    ),
    Message("log-no-socket", "PgBouncer", "sbuf_connect failed…: …", _UNREACHED, _REPAIR),
    Message(
        "log-cancel-crash",
        "PgBouncer",
        "in function disconnect_client(): bad client state: …",
        say("a client that had asked for a cancellation was gone before it was done, and PgBouncer ends by that, until 1.19.1"),
        say("install PgBouncer 1.21 or newer (`howdah doctor`); the keeper has started it again, and clients connect anew"),
        _OLD,
    ),
    Message(
        "log-server-login",
        "PgBouncer",
        "server login failed: FATAL …",
        say("PostgreSQL refused a login that the pooler made for a client, and its words follow"),
        say("look its words up under what a client is told"),
    ),
    Message(
        "log-lookup",
        "PgBouncer",
        "error in auth_query: …",
        say("the pooler could not look the user up: its role or its function was altered"),
        _REPAIR,
        ("1.24", "1.26"),
    ),
    Message("log-paused-already", "PgBouncer", "already …paused", _CONSOLE, _LEFT),
    Message("log-not-paused", "PgBouncer", "pooler is not paused", _CONSOLE, _LEFT),
    Message(
        "log-closed-by-client",
        "PgBouncer",
        "closing because: client close request",
        say("a client said good-bye; said with log_disconnections"),
        _NOTHING,
    ),
    Message(
        "log-client-vanished",
        "PgBouncer",
        "closing because: client unexpected eof",
        say("a client went away without saying good-bye; said with log_disconnections"),
        say("nothing, if it stays rare; else see the application's own log at that time"),
    ),
    Message(
        "log-closing",
        "PgBouncer",
        "closing because: …",
        say("the connection ended for the reason that follows; said with log_disconnections"),
        say("look the reason up under what a client is told"),
    ),
    # --- the keeper
    Message(
        "log-restarted",
        "keeper",
        "pgbouncer … ended with …; starts again in …",
        say("PgBouncer ended, -9 for instance by a signal, and the keeper starts it again: its clients were cut off"),
        say("`howdah logs NAME --source pooler` tells its last words; if it happens again and again: howdah repair NAME"),
    ),
    Message("log-keeper-ends", "keeper", "ends; PgBouncer runs on", say("Howdah ended this keeper: a newer generation serves"), _NOTHING),
)
