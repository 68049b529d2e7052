"""Why a server does not start, or does not load its files, in the words of PostgreSQL, PgBouncer and PgBouncer's keeper.

The particular stands before the general, for the first that fits tells the cure.
"""

from __future__ import annotations

from typing import Final

from howdah.catalog.messages.message import Message
from howdah.phrase import say

_REWRITE: Final = say("run `howdah repair NAME`, which writes the files anew; values go through `howdah params set NAME K=V`")
_EDITED: Final = say("somebody edited a file of the server, or put an older one back")
_REFIT: Final = say("run `howdah repair NAME`, which gives the directories back to their owner, closed to others")
_OPENED: Final = say("somebody changed the owner or the rights of the server's directories, or they came from a copy")
_REISSUE: Final = say("run `howdah repair NAME`, which issues a new pair where one is missing, wrong or open to others")
_PAIR: Final = say("the server's certificate or key was removed, altered, or made readable for others")
_RANGE: Final = say("see what it may be: `howdah params catalog --search WORD`; then `howdah params set NAME K=V`")
_LOST: Final = say("put the whole data directory back, or make an instance from a dump; pg_resetwal would hide the loss, not mend it")
_DAMAGED: Final = say("the data directory is damaged or incomplete: a failed disk, or a copy of it that was made while the server ran")
_REMOUNT: Final = say("mount the disk that holds it, or put it back; `howdah delete NAME` gives the instance up")
_POOLER_REWRITE: Final = say(
    "run `howdah repair NAME`, which writes the pooler's files anew; values go through `howdah extensions set NAME pooler K=V`"
)
_POOLER_EDITED: Final = say("somebody edited pgbouncer.ini, or another version of PgBouncer reads it")
_BY_HAND: Final = say(
    "a server is started by `howdah start NAME`, and looked at by `howdah show NAME`; end the one that was started by hand"
)
_ROOM: Final = say("make room there (`howdah doctor` tells how much is left), then: howdah repair NAME")
_FULL: Final = say("the disk is full")

STARTS: Final = (
    # --- PostgreSQL: the machine
    Message("start-no-room", "PostgreSQL", "…: No space left on device", _FULL, _ROOM),
    Message(
        "start-port-taken",
        "PostgreSQL",
        "could not bind … address …: Address already in use",
        say("another program listens at that address and port; with a second address PostgreSQL starts all the same, and only warns"),
        say("end that program (`ss -ltnp` names it), then: howdah repair NAME"),
    ),
    Message(
        "start-address-gone",
        "PostgreSQL",
        "could not bind … address …: Cannot assign requested address",
        say("the machine does not have that address, or not any more"),
        say("bring the address back, then: howdah repair NAME; or listen elsewhere: `howdah endpoints set NAME --listen ADDR`"),
    ),
    Message(
        "start-no-sockets",
        "PostgreSQL",
        "could not create any …sockets",
        say("none of its addresses is free, or its socket's directory is closed to it; the lines before this one tell which"),
        say("do what stands beside those lines, then: howdah repair NAME"),
    ),
    Message(
        "start-memory",
        "PostgreSQL",
        "could not map anonymous shared memory: …",
        say("shared_buffers, max_connections and what else takes shared memory ask for more than the machine has, or for huge pages"),
        say("ask for less: `howdah params set NAME shared_buffers=N`; `howdah doctor` tells what the machine has"),
    ),
    Message(
        "start-descriptors",
        "PostgreSQL",
        "insufficient file descriptors available to start server process",
        say("the server's processes may open too few files"),
        say("raise it: ulimit -Hn 65536, or LimitNOFILE= of the unit; then: howdah repair NAME"),
    ),
    Message(
        "start-as-root",
        "PostgreSQL",
        '"root" execution of the PostgreSQL server is not permitted',
        say("somebody started it by hand, as root"),
        _BY_HAND,
    ),
    Message(
        "start-running-already",
        "PostgreSQL",
        'lock file "postmaster.pid" already exists',
        say("a server runs on this data directory already, or one was killed and its pid is now another's"),
        _BY_HAND,
    ),
    Message(
        "start-left-behind",
        "PostgreSQL",
        "pre-existing shared memory block … is still in use",
        say("processes of an earlier server are still there, though its postmaster.pid is gone"),
        say("run `howdah repair NAME`, which ends them and starts anew"),
    ),
    # --- PostgreSQL: its data
    Message(
        "start-other-version",
        "PostgreSQL",
        "database files are incompatible with server",
        say("the data was made by another major version of PostgreSQL"),
        say("install the PostgreSQL of that version, or name its programs in HOWDAH_POSTGRES_BINDIRS; then: howdah repair NAME"),
    ),
    Message("start-data-invalid", "PostgreSQL", "… is not a valid data directory", _DAMAGED, _REMOUNT),
    Message("start-control-missing", "PostgreSQL", "could not open file …pg_control…", _DAMAGED, _REMOUNT),
    Message("start-control-damaged", "PostgreSQL", "incorrect checksum in control file", _DAMAGED, _LOST),
    Message("start-wal-missing", "PostgreSQL", 'required WAL directory "pg_wal" does not exist', _DAMAGED, _LOST),
    Message("start-no-checkpoint", "PostgreSQL", "could not locate a valid checkpoint record…", _DAMAGED, _LOST),
    # --- PostgreSQL: owners and rights
    Message("start-data-open", "PostgreSQL", "data directory … has invalid permissions", _OPENED, _REFIT),
    Message("start-data-owner", "PostgreSQL", "data directory … has wrong ownership", _OPENED, _REFIT),
    Message("start-socket-directory", "PostgreSQL", "could not … lock file …: …", _OPENED, _REFIT),
    Message("start-log-directory", "PostgreSQL", "could not open log file …: …", _OPENED, _REFIT),
    # --- PostgreSQL: certificates
    Message("start-certificate", "PostgreSQL", "could not load server certificate file …", _PAIR, _REISSUE),
    Message("start-key-missing", "PostgreSQL", "could not access private key file …", _PAIR, _REISSUE),
    Message("start-key-open", "PostgreSQL", "private key file … has group or world access", _PAIR, _REISSUE),
    Message("start-key-owner", "PostgreSQL", "private key file … must be owned by the database user or root", _PAIR, _REISSUE),
    Message("start-key-wrong", "PostgreSQL", "could not load private key file …", _PAIR, _REISSUE),
    # --- PostgreSQL: configuration
    Message(
        "start-library",
        "PostgreSQL",
        "could not access file …: No such file or directory",
        say("a library of shared_preload_libraries is not installed"),
        say("install the package that has it, or take it out: `howdah extensions remove NAME EXT`"),
    ),
    Message(
        "start-invalid-value",
        "PostgreSQL",
        "invalid value for parameter …: …",
        say("a parameter cannot have that value; through `howdah params set` this is found before anything is changed"),
        _RANGE,
    ),
    Message(
        "start-out-of-range",
        "PostgreSQL",
        "… is outside the valid range for parameter …",
        say("the number is too small or too large; its unit counts, too"),
        _RANGE,
    ),
    Message("start-not-boolean", "PostgreSQL", "parameter … requires a Boolean value", say("it is neither on nor off"), _RANGE),
    Message(
        "start-unknown-parameter",
        "PostgreSQL",
        "unrecognized configuration parameter …",
        say("this version has no such parameter, or the library that brings it is not loaded"),
        say("see which there are: `howdah params catalog --search WORD`; `howdah repair NAME` writes the files anew"),
    ),
    Message(
        "start-connections",
        "PostgreSQL",
        "superuser_reserved_connections… must be less than …max_connections…",
        say("more connections are reserved than there are"),
        say("raise max_connections, or lower what is reserved: `howdah params set NAME K=V`"),
    ),
    Message(
        "start-wal-senders",
        "PostgreSQL",
        "WAL streaming … requires …wal_level…",
        say("wal_level=minimal leaves nothing to stream"),
        say("set both: `howdah params set NAME wal_level=minimal max_wal_senders=0`, or leave wal_level at replica"),
    ),
    Message(
        "start-archive",
        "PostgreSQL",
        "WAL archival cannot be enabled when …wal_level… is …minimal…",
        say("wal_level=minimal leaves nothing to archive"),
        say("leave wal_level at replica: `howdah params unset NAME wal_level`"),
    ),
    Message("start-syntax", "PostgreSQL", "syntax error in file …", _EDITED, _REWRITE),
    Message(
        "reload-partly",
        "PostgreSQL",
        "configuration file … contains errors; …",
        say("a reload met a value that cannot be; the lines before this one name it, and what was right may have been applied"),
        _REWRITE,
    ),
    Message(
        "start-errors",
        "PostgreSQL",
        "configuration file … contains errors",
        say("the lines before this one name them"),
        _REWRITE,
    ),
    Message("start-no-configuration", "PostgreSQL", "could not access the server configuration file …", _EDITED, _REWRITE),
    Message("start-hba-method", "PostgreSQL", "invalid authentication method …", _EDITED, _REWRITE),
    Message("start-hba-type", "PostgreSQL", "invalid connection type …", _EDITED, _REWRITE),
    Message("start-hba-empty", "PostgreSQL", "configuration file … contains no entries", _EDITED, _REWRITE),
    Message("start-closed-file", "PostgreSQL", "could not open …file …: Permission denied", _EDITED, _REWRITE),
    Message("start-missing-file", "PostgreSQL", "could not open …file …: No such file or directory", _EDITED, _REWRITE),
    Message(
        "start-hba",
        "PostgreSQL",
        "could not load …pg_hba.conf",
        say("the lines before this one name what is wrong in it"),
        _REWRITE,
    ),
    Message(
        "start-no-tls",
        "PostgreSQL",
        "hostssl record cannot match because SSL is disabled",
        say("a rule asks for TLS, and the server has it switched off: it starts, and nobody comes in by that rule"),
        _REWRITE,
    ),
    Message(
        "reload-hba",
        "PostgreSQL",
        "pg_hba.conf was not reloaded",
        say("the lines before this one name what is wrong in it; the old rules go on to count"),
        _REWRITE,
    ),
    Message(
        "reload-ident",
        "PostgreSQL",
        "pg_ident.conf was not reloaded",
        say("the lines before this one name what is wrong in it; the old rules go on to count"),
        _REWRITE,
    ),
    Message(
        "reload-tls",
        "PostgreSQL",
        "SSL configuration was not reloaded",
        say("the line before this one names the file; the old certificate goes on to be served"),
        _REISSUE,
    ),
    # --- PgBouncer
    Message("pooler-unknown-setting", "PgBouncer", "unknown parameter: …", _POOLER_EDITED, _POOLER_REWRITE),
    Message(
        "pooler-unknown-key",
        "PgBouncer",
        "unrecognized connection parameter: …",
        say("a line of [databases] holds a word that PgBouncer does not know"),
        _POOLER_REWRITE,
    ),
    Message("pooler-invalid-value", "PgBouncer", "invalid value … for parameter … in configuration …", _POOLER_EDITED, _POOLER_REWRITE),
    Message("pooler-section", "PgBouncer", "invalid section … in configuration …", _POOLER_EDITED, _POOLER_REWRITE),
    Message("pooler-syntax", "PgBouncer", "syntax error in configuration …", _POOLER_EDITED, _POOLER_REWRITE),
    Message(
        "pooler-file",
        "PgBouncer",
        "could not load file …: …",
        say("pgbouncer.ini is gone, or PgBouncer's user may not read it"),
        _POOLER_REWRITE,
    ),
    Message(
        "pooler-no-configuration",
        "PgBouncer",
        "cannot load config file",
        say("the lines before this one name what is wrong in it"),
        _POOLER_REWRITE,
    ),
    Message(
        "pooler-not-reloaded",
        "PgBouncer",
        "config file loading failed",
        say("a RELOAD met a line that cannot be: what stood before it was taken, what stands behind it is back at its defaults"),
        _POOLER_REWRITE,
    ),
    Message(
        "pooler-certificate",
        "PgBouncer",
        "failed to load certificate file …",
        say("the pooler's certificate is gone or altered"),
        _REISSUE,
    ),
    Message(
        "pooler-key",
        "PgBouncer",
        "failed to load private key file …",
        say("the pooler's key is gone, closed to it, altered, or that of another certificate"),
        _REISSUE,
    ),
    Message("pooler-ciphers", "PgBouncer", "invalid client_tls_ciphers: …", _POOLER_EDITED, _POOLER_REWRITE),
    Message("pooler-curve", "PgBouncer", "invalid client_tls_ecdhecurve: …", _POOLER_EDITED, _POOLER_REWRITE),
    Message("pooler-tls", "PgBouncer", "TLS setup failed", say("the line before this one tells why"), _REISSUE),
    Message(
        "pooler-users",
        "PgBouncer",
        "could not open auth_file …",
        say("the pooler's file of users is gone or closed to it; it is empty, for users are looked up, and only this is said"),
        _POOLER_REWRITE,
    ),
    Message(
        "pooler-users-broken",
        "PgBouncer",
        "broken auth file",
        say("somebody wrote into the pooler's file of users, which is empty: users are looked up"),
        _POOLER_REWRITE,
    ),
    Message(
        "pooler-hba",
        "PgBouncer",
        "could not open hba config file …",
        say("the pooler's rules are gone: it starts, and lets nobody in"),
        _POOLER_REWRITE,
    ),
    Message(
        "pooler-hba-line",
        "PgBouncer",
        "could not parse hba config line …",
        say("the line before this one tells what is wrong; PgBouncer starts without that rule"),
        _POOLER_REWRITE,
    ),
    Message(
        "pooler-running-already",
        "PgBouncer",
        "pidfile … exists, another instance running?",
        say("a second PgBouncer was started in its directory, or one was killed and its pid is now another's"),
        say("run `howdah repair NAME`; PgBouncer is started by its keeper, which removes what a dead one left"),
        ("1.24", "1.26"),
    ),
    Message(
        "pooler-running-already-old",
        "PgBouncer",
        "pidfile exists, another instance running?",
        say("a second PgBouncer was started in its directory, or one was killed and its pid is now another's"),
        say("run `howdah repair NAME`; PgBouncer is started by its keeper, which removes what a dead one left"),
        ("1.18",),
    ),
    Message(
        "pooler-socket-taken",
        "PgBouncer",
        "unix socket is in use, cannot continue",
        say("a second PgBouncer was started in its directory, by hand"),
        _BY_HAND,
    ),
    Message("pooler-as-root", "PgBouncer", "PgBouncer should not run as root", say("somebody started it by hand, as root"), _BY_HAND),
    Message(
        "pooler-log",
        "PgBouncer",
        "Cannot open logfile: …",
        say("the pooler's directory is not its user's any more, or its disk is read-only"),
        say("run `howdah repair NAME`: a new generation gets a directory of its own"),
    ),
    Message(
        "pooler-pidfile",
        "PgBouncer",
        "could not open pidfile …",
        say("the pooler's directory is not its user's any more, or its disk is read-only"),
        say("run `howdah repair NAME`: a new generation gets a directory of its own"),
    ),
    # --- the keeper, which holds PgBouncer's sockets
    Message(
        "keeper-port-taken",
        "keeper",
        "cannot listen on … port …: …",
        say("another program has that address and port, or the machine does not have the address"),
        say("end that program, then: howdah repair NAME; or take another port: `howdah extensions set NAME pooler listen_port=N`"),
    ),
    Message(
        "keeper-no-program",
        "keeper",
        "cannot start …: No such file or directory",
        say("the program of PgBouncer is not where it was when this generation began"),
        say("install PgBouncer, then: howdah repair NAME"),
    ),
    Message(
        "keeper-twice",
        "keeper",
        "another keeper is alive in this directory",
        say("a second keeper was started by hand; the first one serves on"),
        say("nothing; `howdah show NAME` tells that the pooler serves"),
    ),
)
