"""The catalog of parameters: read, compared and refused as PostgreSQL does it, which the servers found on this machine are asked."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howdah.catalog import parameters, policy, units
from howdah.catalog.parameters import MAJORS, Parameter
from howdah.errors import Invalid, Unsupported


def refusal(major: int, name: str, text: str) -> Invalid:
    with pytest.raises(Invalid) as refused:
        parameters.parse(major, name, text)
    return refused.value


# ── the catalog itself ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("major", MAJORS)
def test_every_entry_has_the_server_s_own_default_as_a_legal_value(major: int) -> None:
    catalog = parameters.catalog(major)
    assert len(catalog) > 300
    for parameter in catalog.values():
        assert parameter.name == parameter.name.lower() and parameter.description
        assert (parameter.policy.kind == "open") == (parameter.policy.reason is None)
        if parameter.default is not None:
            parameters.checked(parameter, parameter.default)


@pytest.mark.parametrize("major", MAJORS)
def test_nothing_of_the_machine_that_was_asked_is_in_the_catalog(major: int) -> None:
    catalog = parameters.catalog(major)
    defaults = [parameter.default for parameter in catalog.values() if parameter.default]
    assert not [default for default in defaults if default.startswith("/") or ":/" in default]
    source = json.loads((Path(parameters.__file__).parent / f"postgresql-{major}.json").read_bytes())
    assert source["server_version"].split(".")[0] == str(major)


@pytest.mark.parametrize("major", MAJORS)
def test_what_runs_programs_loads_code_or_moves_files_is_never_open(major: int) -> None:
    for name, parameter in parameters.catalog(major).items():
        ends = name.endswith(("_command", "_library", "_libraries", "_file", "_directory", "_directories", "_path", "_conninfo"))
        if (ends and name != "search_path") or parameter.context == "internal" or parameter.category == "Preset Options":
            assert parameter.policy.kind != "open", name


def test_a_policy_names_only_parameters_that_some_version_has() -> None:
    known = {name for major in MAJORS for name in parameters.catalog(major)}
    assert set(policy._BY_NAME) <= known | {"extension_destdir"}  # Debian's own
    for start, end, _ in policy._BY_SHAPE:
        assert any(name.startswith(start) and name.endswith(end) for name in known), (start, end)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *[
            (name, "managed_parameter")
            for name in ("listen_addresses", "port", "ssl_ciphers", "ssl_groups", "ssl_tls13_ciphers", "hba_file")
        ],
        *[(name, "managed_parameter") for name in ("unix_socket_directories", "data_directory", "logging_collector", "log_rotation_age")],
        *[
            (name, "managed_parameter")
            for name in ("shared_preload_libraries", "session_preload_libraries", "cluster_name", "SSL_Cert_File")
        ],
        *[(name, "managed_parameter") for name in ("password_encryption", "log_directory", "external_pid_file", "ssl_passphrase_command")],
        *[(name, "refused_parameter") for name in ("archive_command", "restore_command", "archive_library", "fsync", "full_page_writes")],
        *[(name, "refused_parameter") for name in ("allow_system_table_mods", "jit_provider", "krb_server_keyfile", "bonjour_name")],
        *[(name, "refused_parameter") for name in ("zero_damaged_pages", "ignore_checksum_failure", "in_hot_standby", "server_version")],
        *[
            (name, "refused_parameter")
            for name in ("recovery_target_time", "primary_conninfo", "synchronous_standby_names", "event_source")
        ],
        *[(name, "refused_parameter") for name in ("debug_discard_caches", "transaction_isolation", "syslog_ident", "wal_block_size")],
    ],
)
def test_what_is_not_a_person_s_to_set_is_refused_with_the_reason(name: str, code: str) -> None:
    refused = refusal(18, name, "x")
    assert refused.code == code
    assert str(refused.message).startswith(f"cannot set {name.lower()}: ")
    assert code == "refused_parameter" or refused.hint is not None


@pytest.mark.parametrize("name", ["ssl", "timezone", "lc_messages", "log_line_prefix", "shared_buffers", "work_mem", "jit_expressions"])
@pytest.mark.parametrize("major", MAJORS)
def test_what_is_a_person_s_to_set_is_open(major: int, name: str) -> None:
    assert parameters.find(major, name).policy.kind == "open"


def test_a_major_that_is_not_known_is_unsupported() -> None:
    for major in (12, 19, 0):
        with pytest.raises(Unsupported, match="13 to 18"):
            parameters.catalog(major)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("shared_bufers", "shared_buffers"),
        ("sort_mem", "work_mem"),
        ("transaction_timeout", "17, 18"),
        ("stats_temp_directory", "13, 14"),
        ("pg_stat_statements.max", "howdah extensions"),
        ("nothing_of_the_kind_at_all", "howdah params catalog"),
        ("work\nmem", "work_mem"),
    ],
)
def test_an_unknown_name_says_where_it_may_belong(name: str, hint: str) -> None:
    refused = refusal(16, name, "1")
    assert refused.code == "unknown_parameter"
    assert hint in str(refused.hint)
    assert "\n" not in str(refused.message)


def test_an_extension_brings_parameters_of_its_own() -> None:
    extra = {
        "pg_stat_statements.max": Parameter("pg_stat_statements.max", "integer", minimum=100, maximum=2147483647, context="postmaster")
    }
    assert parameters.parse(15, "PG_stat_statements.max", "5000", extra) == "5000"
    assert parameters.equal(15, "pg_stat_statements.max", "5000", "0x1388", extra)
    assert parameters.needs_restart(15, "pg_stat_statements.max", extra)
    with pytest.raises(Invalid, match="expected a value from 100"):
        parameters.parse(15, "pg_stat_statements.max", "99", extra)


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("max_connections", "lots", "cannot set max_connections=lots: expected an integer"),
        ("max_connections", "0", "expected a value from 1 to 262143"),
        ("shared_buffers", "64kB", "expected a value from 128kB to 8589934584kB"),
        ("work_mem", "10 apples", "expected an integer, or one with a unit: TB, GB, MB, kB, B"),
        ("work_mem", "64mb", "expected an integer, or one with a unit"),
        ("statement_timeout", "1MB", "d, h, min, s, ms, us"),
        ("max_connections", "1MB", "expected an integer without a unit"),
        ("random_page_cost", "1,5", "expected a number"),
        ("random_page_cost", "nan", "expected a number"),
        ("geqo_selection_bias", "1", "from 1.5 to 2"),
        ("ssl", "o", "expected on or off"),
        ("wal_level", "maximal", "expected one of minimal, replica, logical"),
        ("search_path", "a\nb", "a\\nb: expected text without control characters"),
        ("search_path", "a\u2028b", "control characters"),
        ("search_path", "a\x00b", "control characters"),
        ("search_path", "x" * 5000, "at most 4096 bytes"),
        ("min_wal_size", "16MB", "at least 32MB"),
    ],
)
def test_a_bad_value_is_refused_with_what_was_expected(name: str, text: str, says: str) -> None:
    refused = refusal(15, name, text)
    assert refused.code == "invalid_value"
    assert says in str(refused.message)
    assert len(str(refused.message)) < 250


@pytest.mark.parametrize(
    ("name", "a", "b", "same"),
    [
        ("shared_buffers", "512MB", "524288kB", True),
        ("shared_buffers", "512MB", "65536", True),
        ("shared_buffers", "512MB", "65537", False),
        ("work_mem", "1.5MB", "1536", True),
        ("statement_timeout", "90s", "1.5min", True),
        ("vacuum_cost_delay", "500us", "0.5", True),
        ("random_page_cost", "1.1", "1.10", True),
        ("cpu_operator_cost", "0.0012345678", "0.00123457", True),
        ("ssl", "yes", "on", True),
        ("ssl", "yes", "off", False),
        ("wal_level", "LOGICAL", "logical", True),
        ("search_path", "a, b", "a,b", False),
        ("work_mem", "rubbish", "rubbish", True),
        ("work_mem", "rubbish", "4MB", False),
    ],
)
def test_values_are_compared_in_units(name: str, a: str, b: str, same: bool) -> None:
    assert parameters.equal(15, name, a, b) is same
    assert parameters.equal(15, name, b, a) is same


@pytest.mark.parametrize(
    ("name", "wanted", "reported", "holds"),
    [
        ("wal_buffers", "-1", "512", True),
        ("wal_buffers", "1MB", "512", False),
        ("wal_buffers", "4MB", "512", True),
        ("tcp_keepalives_idle", "60", "0", True),
        ("tcp_keepalives_idle", "60", "30", False),
        ("timezone", "europe/moscow", "Europe/Moscow", True),
        ("datestyle", "iso", "ISO, MDY", True),
        ("datestyle", "european, sql", "SQL, DMY", True),
        ("datestyle", "iso, dmy", "ISO, MDY", False),
        ("wal_compression", "on", "pglz", True),
        ("wal_compression", "on", "off", False),
        ("autovacuum_work_mem", "70kB", "1024", True),
        ("search_path", "A", "a", False),
    ],
)
def test_what_a_server_reports_is_known_for_what_was_wanted(name: str, wanted: str, reported: str, holds: bool) -> None:
    assert parameters.holds(15, name, wanted, reported) is holds


def test_only_what_the_server_reads_at_its_start_needs_a_restart() -> None:
    assert parameters.needs_restart(15, "shared_buffers") and parameters.needs_restart(18, "MAX_connections")
    assert not parameters.needs_restart(15, "ssl") and not parameters.needs_restart(15, "log_connections")


NUMBERS = [p for p in parameters.catalog(18).values() if p.type in ("integer", "real")]
ANY_OPEN = [p for p in parameters.catalog(18).values() if p.policy.kind == "open"]
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30) | st.from_regex(r"\A[+-]?[0-9a-fx.]{1,8} ?(kB|MB|GB|ms|s|min|h|us|B)?\Z")


@settings(max_examples=60)
@given(st.sampled_from(ANY_OPEN), TEXTS)
def test_what_was_accepted_once_is_accepted_again_unchanged(parameter: Parameter, text: str) -> None:
    try:
        kept = parameters.checked(parameter, text)
    except Invalid as refused:
        assert refused.code == "invalid_value"
        assert str(refused).isprintable()
    else:
        assert parameters.checked(parameter, kept) == kept
        assert parameters.same(parameter, kept, text)


@given(st.sampled_from(ANY_OPEN), TEXTS, TEXTS)
def test_being_equal_is_symmetric_and_reflexive(parameter: Parameter, a: str, b: str) -> None:
    assert parameters.same(parameter, a, a)
    assert parameters.same(parameter, a, b) == parameters.same(parameter, b, a)


@given(st.sampled_from([p for p in NUMBERS if p.type == "integer"]), st.data())
def test_a_spelled_number_is_read_back(parameter: Parameter, data: st.DataObject) -> None:
    assert parameter.minimum is not None and parameter.maximum is not None
    number = data.draw(st.integers(int(parameter.minimum), int(parameter.maximum)))
    assert units.read_integer(units.spell(number, parameter.unit), parameter.unit) == number


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40))
def test_a_quoted_text_has_no_way_out(text: str) -> None:
    inside = parameters.quote(text)[1:-1]
    assert inside.replace("''", "").replace("\\\\", "").count("'") == 0
    assert inside.replace("''", "'").replace("\\\\", "\\") == text


# ── the servers of this machine ──────────────────────────────────────────────────────────────────────────────────────────────────────

SERVERS = {int(path.parts[-3]): path for path in Path("/usr/lib/postgresql").glob("*/bin/postgres") if int(path.parts[-3]) in MAJORS}
Ask = Callable[[str, str], str | None]


FOUND: list[int | None] = [*sorted(SERVERS)] or [None]  # None: one test, skipped with its reason


@pytest.fixture(params=FOUND, ids=str)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, Ask]]:
    """Return a major version and a question to its server: what it makes of one line of postgresql.conf, None if it refuses it."""
    if request.param is None:
        pytest.skip("no PostgreSQL of 13 to 18 in /usr/lib/postgresql")

    def ask(name: str, line: str) -> str | None:
        (tmp_path / "postgresql.conf").write_text(f"{line}\n", encoding="utf-8")
        # -C needs a directory with a configuration file, no cluster, and may be asked by root (main.c).
        done = subprocess.run(
            [SERVERS[request.param], "-C", name, "-D", tmp_path], capture_output=True, timeout=30, check=False, env={"LC_ALL": "C"}
        )
        return done.stdout.decode()[:-1] if done.returncode == 0 else None

    yield request.param, ask
    shutil.rmtree(tmp_path)


PAIRS = [
    *[("shared_buffers", text) for text in ("128MB", "128 MB", "128mb", "0x4000", "16384.4", "15", "1e5", "0.5GB", "9TB", "")],
    *[("work_mem", text) for text in ("64kB", "63kB", "0100", "089", "30.1GB", "70000B", " 5MB ", "5MB x", "1_000", "99999999999")],
    *[("statement_timeout", text) for text in ("1.5h", "90000000us", "-1", "2.5", "0x10s", "1 day", "1d", "1D", "+3")],
    *[("random_page_cost", text) for text in ("1.1", ".5", "1e-400", "inf", "nan", "0x1p3", "1,5", "-0.1")],
    *[("vacuum_cost_delay", text) for text in ("0.5", "500us", "1s", "0.01s")],
    *[("autovacuum", text) for text in ("t", "YES", "o", "of", "on ", "2", "1", "enabled")],
    *[("wal_level", text) for text in ("LOGICAL", "logica", "replica ", "on")],
    *[("synchronous_commit", text) for text in ("remote_apply", "true", "t", "1", "off")],
    *[("huge_pages", text) for text in ("no", "Try", "maybe")],
    *[("search_path", text) for text in ("a, b", '"$user"', "")],
    *[("log_line_prefix", text) for text in ("%m 'quoted' \\t [%p] ", "# no comment", "\\")],
]


def test_a_server_accepts_and_refuses_just_what_we_do(server: tuple[int, Ask]) -> None:
    major, ask = server
    differ = []
    for name, text in PAIRS:
        try:
            kept = parameters.parse(major, name, text)
        except Invalid:
            if ask(name, f"{name} = {parameters.quote(text)}") is not None:
                differ.append((name, text, "refused by us alone"))
            continue
        shown = ask(name, f"{name} = {parameters.quote(kept)}")
        if shown is None or not parameters.equal(major, name, kept, shown):
            differ.append((name, text, f"server: {shown}"))
    assert not differ


def test_a_server_reads_back_every_quoted_text(server: tuple[int, Ask]) -> None:
    @settings(max_examples=25, deadline=None)
    @given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from("'\\\"#$;="), max_size=20))
    def reads_back(text: str) -> None:
        assert ask("howdah.text", f"howdah.text = {parameters.quote(text)}") == text

    _, ask = server
    reads_back()


def test_a_server_knows_what_its_catalog_names(server: tuple[int, Ask]) -> None:
    major, ask = server
    for name in ("shared_buffers", "wal_compression", "datestyle", "recovery_min_apply_delay", "jit_tuple_deforming"):
        assert parameters.find(major, name)
        assert ask(name, "") is not None
