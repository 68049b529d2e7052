"""How each client's snippet is executed, as printed, in a clean environment, and whether its driver is there.

What is compiled is compiled once for all connections: in its text the connection gives way to a word of no meaning, and the snippet's own
environment names it when it runs. A driver that is not there is a reason to skip, which `python tools/drivers.py` tells, too.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as distribution
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

from tests.real.hops import BIN, CLEAN, SECONDS

from howdah.connect import Snippet, Target, _libpq, snippet

ROOT = Path(__file__).resolve().parents[2]


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("drivers", ROOT / "tools" / "drivers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["drivers"] = module
    spec.loader.exec_module(module)
    return module


drivers = _tool()
Ran = subprocess.CompletedProcess[str]
Execute = Callable[[Snippet, Target, Path, Mapping[str, str]], Ran]


@dataclass(frozen=True)
class Recipe:
    """How a client is executed, and the version of what executes it; a driver that is not there raises `drivers.Missing`."""

    execute: Execute
    version: Callable[[], str]


def run(command: list[str], home: Path, environment: Mapping[str, str], text: str = "") -> Ran:
    clean = CLEAN | {"HOME": str(home)} | dict(environment)
    return subprocess.run(command, cwd=home, env=clean, input=text, capture_output=True, text=True, timeout=SECONDS * 2)


def write(home: Path, made: Snippet) -> None:
    """Lay the files of a snippet into a directory."""
    for name, text in (made.files or {made.filename: made.text}).items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)


# ------------------------------------------------------------------------------------------------ libpq's own

# What a person would type at psql's prompt; \conninfo is libpq's own view, pg_stat_ssl the server's.
QUESTIONS = "\\pset tuples_only on\n\\pset format unaligned\nSELECT 'answer: ' || 6 * 7;\n\\conninfo\n"
SEEN = "SELECT 'encrypted: ' || CASE WHEN ssl THEN 'yes' ELSE 'no' END FROM pg_stat_ssl WHERE pid = pg_backend_pid();\n"


def ask(command: list[str], wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    done = run(command, home, environment, QUESTIONS if wanted.pooled else QUESTIONS + SEEN)
    secure = re.search(r"SSL connection \(protocol: TLS|SSL Connection\|true", done.stdout)
    said = f"encrypted: {'yes' if secure else 'no'}\n"
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout + said if wanted.pooled else done.stdout, done.stderr)


def tried(made: Snippet, home: Path, environment: Mapping[str, str], done: Ran) -> Ran:
    """Run the program that lies beside a text, which must say what the text alone did, and return what came of it."""
    write(home, made)
    [program] = [name for name in made.files if name.endswith("-try.sh")]
    again = run(["sh", program], home, environment)
    assert (again.returncode == 0) == (done.returncode == 0), (again, done)
    return again


def as_command(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    return tried(made, home, environment, ask(["sh", "-c", made.text], wanted, home, environment))


def as_string(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    return tried(made, home, environment, ask(["psql", made.text.strip()], wanted, home, environment))


def as_environment(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    (home / made.filename).write_text(made.text)
    return tried(made, home, environment, ask(["sh", "-c", f". ./{made.filename} && exec psql"], wanted, home, environment))


def as_service(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    (home / ".pg_service.conf").write_text("[another]\nhost=nowhere.invalid\n\n" + made.files["pg_service.conf"] + "[last]\nport=1\n")
    return tried(made, home, environment, ask(["psql", f"service={wanted.label}"], wanted, home, environment))


def as_script(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    return run(["sh", "-c", made.text], home, {**environment, "PATH": f"{BIN}:{CLEAN['PATH']}"})


@cache
def libpq() -> str:
    said = subprocess.run(["psql", "--version"], capture_output=True, text=True, check=True).stdout
    return f"psql {said.split()[2]}"


# ------------------------------------------------------------------------------------------------ programs that are interpreted


def as_python(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    (home / made.filename).write_text(made.text)
    return run([sys.executable, "-W", "error", made.filename], home, environment)


def python_with(*packages: str) -> Callable[[], str]:
    return lambda: ", ".join([*(f"{each} {distribution(each)}" for each in packages), f"Python {sys.version.split()[0]}"])


def with_odbc() -> str:
    return f"{there('odbc')}, pyodbc {distribution('pyodbc')}"


def as_php(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    write(home, made)
    done = run(["php", made.filename], home, environment)
    # PHP's command line prints warnings to standard output
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout, done.stderr + done.stdout)


def as_ruby(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    write(home, made)
    return run(["ruby", made.filename], home, environment)


def as_node(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    write(home, made)
    modules("node", home)
    return run(["node", made.filename], home, environment)


def as_prisma(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    write(home, made)
    modules("prisma", home)
    return run(["node", "--env-file=.env", "index.mjs"], home, environment)


def modules(project: str, home: Path) -> None:
    if not (home / "node_modules").exists():
        (home / "node_modules").symlink_to(drivers.HOME / project / "node_modules")


# ------------------------------------------------------------------------------------------------ programs that are compiled


def blank(made: Snippet, quote: Callable[[str], str]) -> str:
    """Return a program's text with nothing in place of what its environment outvotes, so that it is compiled once for all connections."""
    text = made.text
    for value in made.environment.values():
        assert not value or quote(value) in text
        text = text.replace(quote(value), quote("")) if value else text
    return text


def built(client: str, text: str, build: Callable[[Path], None]) -> Path:
    """Return the directory in which a text is compiled, by `build` if it has not been."""
    place: Path = drivers.HOME / "built" / f"{client}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    with drivers.locked(place):
        if not (place / "done").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            build(place)
            (place / "done").touch()
    return place


def as_go(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    text = blank(made, plain)

    def build(place: Path) -> None:
        for name in ("go.mod", "go.sum"):
            shutil.copy(drivers.LOCKED / "go" / name, place)
        (place / "main.go").write_text(text)
        drivers.run([drivers.go_program(), "build", "-o", "client", "."], place, drivers.go_environment())

    return run([str(built(made.client, text, build) / "client")], home, {**made.environment, **environment})


def build_rust(place: Path, manifest: str, text: str, project: str = "rust") -> None:
    """Compile a program on top of what was compiled when its project's crates were fetched."""
    (place / "Cargo.toml").write_text(manifest)
    shutil.copy(drivers.HOME / project / "Cargo.lock", place)
    target = drivers.HOME / project / "target"
    (place / "src").mkdir()
    (place / "src" / "main.rs").write_text(text)
    with drivers.locked(target):
        drivers.run(["cargo", "build", "--quiet", "--locked", "--offline", "--target-dir", target], place, drivers.rust_environment())
        shutil.copy(target / "debug" / "example", place / "client")


def as_rust(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    text = blank(made, plain)
    client = built("rust", text, lambda place: build_rust(place, made.files["Cargo.toml"], text)) / "client"
    return run([str(client)], home, {**made.environment, **environment})


JARS = ":".join(str(drivers.JARS / jar) for jar in ("postgresql.jar", "HikariCP.jar", "slf4j-api.jar", "slf4j-nop.jar"))
QUICK = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]


def as_java(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    name = "Pool" if "Pool.java" in made.files else "Main"
    text = made.files.get("Pool.java") or blank(made, json.dumps)

    def build(place: Path) -> None:
        (place / f"{name}.java").write_text(text)
        drivers.run(["javac", "-cp", JARS, f"{name}.java"], place)

    write(home, made)
    classes = built(made.client, text, build)
    return run(["java", *QUICK, "-cp", f"{classes}:{JARS}", name], home, {**made.environment, **environment})


def as_fields(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    """Do by JDBC what a graphical client does with the fields: its URL, the user, the passfile; the others must say the same."""
    fields = dict(re.split(r"  +", line, maxsplit=1) for line in made.text.splitlines())
    url = fields["URL"]
    assert f"sslmode={fields['SSL mode']}" in url and f":{fields['Port']}/" in url
    program = snippet("jdbc", wanted)
    told = {**environment, "JDBC_URL": f"{url}&user={quote(fields['User'])}"}
    return as_java(program, wanted, home, told)


def as_dotnet(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    text = blank(made, plain)

    def build(place: Path) -> None:
        (place / "example.csproj").write_text(made.files["example.csproj"])
        (place / "Program.cs").write_text(text)
        drivers.run(["dotnet", "build", "--output", "out"], place)

    return run(["dotnet", str(built("dotnet", text, build) / "out" / "example.dll")], home, {**made.environment, **environment})


def plain(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def there(name: str) -> str:
    """Return the version of a driver, or raise Missing."""
    version: str = state(name)[0]
    if version is None:
        raise drivers.Missing(state(name)[1])
    return version


@cache
def state(name: str) -> tuple[str, str]:
    found: tuple[str, str] = drivers.state(name)
    return found


def of(name: str) -> Callable[[], str]:
    return lambda: there(name)


# Prints each variable of the file as a shell has it, parted by newlines, which no value has.
SOURCED = 'set -a; . ./.env; for name; do printenv "$name"; done'


def as_dotenv(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    """Read the file by dotenv and by a shell, which must agree, and give the URL to libpq."""
    from dotenv import dotenv_values

    (home / ".env").write_text(made.text)
    values = {name: value or "" for name, value in dotenv_values(home / ".env", interpolate=False).items()}
    told = run(["sh", "-c", SOURCED, "sh", *values], home, {})
    assert told.stdout.splitlines() == list(values.values()), (told, values)
    assert ("DIRECT_URL" in values) == (wanted.direct is not None)
    kept = {name: value for name, value in values.items() if name.startswith("PG")}
    return ask(["psql", values["DATABASE_URL"]], wanted, home, {**environment, **kept})


def as_terraform(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    """Read the file by a parser of HCL, and connect by its values; the password is in the environment, or in the passfile for psql."""
    import hcl2

    [provider] = [each for block in hcl2.loads(made.text)["provider"] for each in block.values()]
    values = {key: _unquoted(value) for key, value in provider.items() if not key.startswith("__")}
    names = {"database": "dbname", "username": "user"}
    pairs = {names.get(key, key): str(value) for key, value in values.items() if key != "superuser"}
    passfile = {"PGPASSFILE": str(wanted.passfile)} if wanted.passfile is not None else {}
    return ask(["psql", _libpq.conninfo(pairs)], wanted, home, {**passfile, **environment})


def _unquoted(value: object) -> object:
    """Return a string as Terraform means it: what the parser leaves of quotes, escapes and doubled templates."""
    if not isinstance(value, str):
        return value
    text = json.loads(value) if value.startswith('"') else value
    return str(text).replace("$${", "${").replace("%%{", "%{")


def as_kubernetes(made: Snippet, wanted: Target, home: Path, environment: Mapping[str, str]) -> Ran:
    """Read the manifest as YAML, do with it what `envFrom` and a volume do, and connect."""
    import yaml

    manifest = yaml.safe_load(made.text)
    assert manifest["kind"] == "Secret" and re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", manifest["metadata"]["name"])
    told = {name: value for name, value in manifest["stringData"].items() if name != "ca.crt"}
    if pem := manifest["stringData"].get("ca.crt"):
        told["PGSSLROOTCERT"] = str(home / "ca.crt")
        (home / "ca.crt").write_text(pem)
    passfile = {"PGPASSFILE": str(wanted.passfile)} if wanted.passfile is not None and "PGPASSWORD" not in told else {}
    return ask(["psql"], wanted, home, {**passfile, **environment, **told})


RECIPES: dict[str, Recipe] = {
    "dotenv": Recipe(as_dotenv, lambda: f"python-dotenv {distribution('python-dotenv')}, {libpq()}"),
    "terraform": Recipe(as_terraform, lambda: f"python-hcl2 {distribution('python-hcl2')}, {libpq()}"),
    "kubernetes": Recipe(as_kubernetes, lambda: f"PyYAML {distribution('pyyaml')}, {libpq()}"),
    "psql": Recipe(as_command, libpq),
    "uri": Recipe(as_string, libpq),
    "conninfo": Recipe(as_string, libpq),
    "env": Recipe(as_environment, libpq),
    "service": Recipe(as_service, libpq),
    "pgbench": Recipe(as_script, libpq),
    "python": Recipe(as_python, python_with("psycopg")),
    "psycopg2": Recipe(as_python, python_with("psycopg2-binary")),
    "asyncpg": Recipe(as_python, python_with("asyncpg")),
    "sqlalchemy": Recipe(as_python, python_with("sqlalchemy", "psycopg")),
    "django": Recipe(as_python, python_with("django", "psycopg")),
    "odbc": Recipe(as_python, with_odbc),
    "php": Recipe(as_php, of("php")),
    "pdo": Recipe(as_php, of("php")),
    "ruby": Recipe(as_ruby, of("ruby")),
    "node": Recipe(as_node, of("node")),
    "prisma": Recipe(as_prisma, of("prisma")),
    "jdbc": Recipe(as_java, of("java")),
    "spring": Recipe(as_java, of("java")),
    "fields": Recipe(as_fields, of("java")),
    "go": Recipe(as_go, of("go")),
    "gosql": Recipe(as_go, of("go")),
    "rust": Recipe(as_rust, of("rust")),
    "dotnet": Recipe(as_dotnet, of("dotnet")),
}


def reason_to_skip(client: str) -> str | None:
    """Return why a client cannot be executed here, or None."""
    try:
        RECIPES[client].version()
    except drivers.Missing as reason:
        return f"{client}: {reason}"
    return None


def execute(client: str, wanted: Target, home: Path, **environment: str) -> Ran:
    """Run a client's snippet for a target."""
    return RECIPES[client].execute(snippet(client, wanted), wanted, home, environment)


def good(done: Ran, encrypted: str = "yes") -> str | None:
    """Return what is not as a good connection is, or None; a pooled program says what PostgreSQL sees behind the pooler, too."""
    lines = done.stdout.splitlines()
    said, behind = ([line.split()[-1] for line in lines if line.startswith(word)] for word in ("encrypted", "protected"))
    wanted = ["yes"] if any("to the pooler" in line for line in lines) else []
    if done.returncode == 0 and "answer: 42" in lines and said == [encrypted] and behind == wanted:
        return None
    return f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
