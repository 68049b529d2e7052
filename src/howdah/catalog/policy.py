"""Which PostgreSQL parameters a person may set, which howdah sets, which nobody may, each with its reason: by name, then by the
shape of the name, then by the category that the server itself gives. What is in none of the lists is open; a parameter unknown to
these lists that runs a program or loads code is still caught by its name's shape. Values are not judged here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from howdah.phrase import Phrase, say

Kind = Literal["open", "managed", "refused"]


@dataclass(frozen=True)
class Policy:
    """Whether a parameter is a person's to set; `reason` says why not, `instead` what to use."""

    kind: Kind = "open"
    reason: Phrase | None = None
    instead: Phrase | None = None


OPEN = Policy()


def _managed(reason: Phrase, instead: Phrase) -> Policy:
    return Policy("managed", reason, instead)


def _refused(reason: Phrase, instead: Phrase | None = None) -> Policy:
    return Policy("refused", reason, instead)


_TLS = _managed(
    say("howdah keeps one TLS policy for both hops, and certificates that follow names and addresses"),
    say("howdah params set NAME ssl=on|off; howdah endpoints set NAME --hostname DNS"),
)
_ADDRESSES = _managed(
    say("the addresses are rendered into certificates and access rules too"), say("howdah endpoints set NAME --listen ADDR")
)
_PORT = _managed(say("the port is part of the connection strings and is kept free for the instance"), say("howdah create NAME --port N"))
_ACCESS = _managed(say("access rules are written by howdah"), say("howdah endpoints set NAME --allow CIDR; howdah users grant NAME U"))
_PLACES = _managed(say("howdah decides where an instance lives"), say("set HOWDAH_HOME for all of them"))
_SOCKET = _managed(say("howdah itself and the pooler enter by the unix socket"), say("howdah connect NAME --client uri"))
_LOG = _managed(say("howdah keeps the log"), say("howdah logs NAME --source postgres"))
_PRELOAD = _managed(say("a library that is missing keeps the server from starting"), say("howdah extensions add NAME EXT"))
_NAME = _managed(say("howdah marks its processes by it"), say("howdah show NAME"))
_SCRAM = _managed(say("passwords are kept as SCRAM-SHA-256 only"), say("howdah users password NAME U"))
_PASSAGE = _managed(
    say("howdah's configuration is rendered whole, and must be what the server runs"),
    say("howdah params set NAME K=V; or ALTER ROLE … SET"),
)
_LOGIN = _refused(say("people log in by password (SCRAM-SHA-256) only"))
_PROGRAM = _refused(say("it runs a program as the server's own user"))
_CODE = _refused(say("it decides which code the server loads"), say("howdah extensions add NAME EXT"))
_ARCHIVE = _refused(say("nothing takes the archive away, so it would fill the disk"))
_LOSS = _refused(
    say("data would be lost or damaged by a crash"), say("synchronous_commit=off is fast too, and loses only the last moments")
)
_DAMAGE = _refused(say("it switches off what keeps the data right"))
_SINGLE = _refused(say("this is a single instance, it has no primary and no standby"))
_WAITS = _refused(say("this is a single instance: every commit would wait for a standby that does not exist"))
_TRANSACTION = _refused(
    say("it belongs to one transaction"), say("the same name with default_ in front is what new transactions begin with")
)
_SYSTEM = _refused(say("it means nothing where the log is kept by howdah, or on this system"))
_PRESET = _refused(say("it reports how the server was built or the cluster made, and cannot be set"))
_DEVELOPER = _refused(say("it is for those who develop PostgreSQL, and can damage data"))

_BY_NAME: Mapping[str, Policy] = {
    name: policy
    for policy, names in (
        (OPEN, "ssl jit_expressions jit_tuple_deforming"),
        (_ADDRESSES, "listen_addresses"),
        (_PORT, "port"),
        (_ACCESS, "hba_file ident_file"),
        (_PLACES, "data_directory config_file external_pid_file stats_temp_directory"),
        (_LOG, "logging_collector log_directory log_filename log_destination log_file_mode log_truncate_on_rotation"),
        (_NAME, "cluster_name"),
        (_SCRAM, "password_encryption"),
        (_PASSAGE, "allow_alter_system"),
        (_LOGIN, "db_user_namespace"),
        (_CODE, "jit_provider dynamic_library_path extension_control_path extension_destdir"),
        (_ARCHIVE, "archive_mode archive_timeout"),
        (_LOSS, "fsync full_page_writes data_sync_retry"),
        (_DAMAGE, "zero_damaged_pages session_replication_role allow_system_table_mods"),
        (_SINGLE, "hot_standby hot_standby_feedback max_standby_archive_delay max_standby_streaming_delay promote_trigger_file"),
        (_SINGLE, "recovery_min_apply_delay sync_replication_slots wal_receiver_create_temp_slot"),
        (_WAITS, "synchronous_standby_names synchronized_standby_slots"),
        (_TRANSACTION, "transaction_deferrable transaction_isolation transaction_read_only"),
        (_SYSTEM, "event_source"),
    )
    for name in names.split()
}
_BY_SHAPE: tuple[tuple[str, str, Policy], ...] = (
    ("ssl_", "", _TLS),
    ("unix_socket_", "", _SOCKET),
    ("log_rotation_", "", _LOG),
    ("", "_preload_libraries", _PRELOAD),
    ("", "_command", _PROGRAM),
    ("", "_library", _CODE),
    ("", "_libraries", _CODE),
    ("krb_", "", _LOGIN),
    ("gss_", "", _LOGIN),
    ("oauth_", "", _LOGIN),
    ("ignore_", "", _DAMAGE),
    ("recovery_target", "", _SINGLE),
    ("primary_", "", _SINGLE),
    ("bonjour", "", _SYSTEM),
    ("syslog_", "", _SYSTEM),
)
_BY_CATEGORY: Mapping[str, Policy] = {
    "Preset Options": _PRESET,
    "Developer Options": _DEVELOPER,
    "File Locations": _PLACES,
    "Write-Ahead Log / Archive Recovery": _PROGRAM,
    "Write-Ahead Log / Recovery Target": _SINGLE,
}


def policy_of(name: str, category: str = "", context: str = "") -> Policy:
    """Return the policy of a parameter by its lower-case name and by what the server says of it.

    >>> policy_of("work_mem").kind, policy_of("ssl_ca_file").kind, policy_of("restore_command").kind
    ('open', 'managed', 'refused')
    """
    if (policy := _BY_NAME.get(name)) is not None:
        return policy
    if context == "internal":
        return _PRESET
    for start, end, policy in _BY_SHAPE:
        if name.startswith(start) and name.endswith(end):
            return policy
    return _BY_CATEGORY.get(category, OPEN)
