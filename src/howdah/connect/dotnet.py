""".NET with Npgsql, which speaks the protocol itself.

https://www.npgsql.org/doc/security.html and /connection-string-parameters.html: `SSL Mode=Require` encrypts and verifies nothing (from
6.0 on; a server without TLS is refused), `VerifyFull` takes chain and host name from `Root Certificate`; `Channel Binding=Require` is
there from 8.0 on. It reads `Passfile`, PGPASSFILE and PGPASSWORD. Nothing is prepared by name unless Prepare() or `Max Auto Prepare` asks
for it. Its own pool resets a connection by DISCARD ALL when it is given back, which a pooler in transaction mode sends to any server: `No
Reset On Close=true` (https://www.npgsql.org/doc/compatibility.html, "PgBouncer"). Keepalive is off by default. Rows are read as they
come, without a cursor; SNI is .NET's own (SslStream's TargetHost). Nobody here has run it: Debian has no .NET SDK.
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _driver
from howdah.connect.node import named
from howdah.phrase import say

PROGRAM = _driver.Program("""\
// Connect to @{label}, run a query with a parameter, and say whether the connection is encrypted.
using Npgsql;

var connect = Environment.GetEnvironmentVariable("CONNECT") ??
    @{connect};

await using var source = NpgsqlDataSource.Create(connect);
await using var connection = await source.OpenConnectionAsync();
await using var query = new NpgsqlCommand("SELECT 6 * $1::int", connection) { Parameters = { new() { Value = 7 } } };
var answer = await query.ExecuteScalarAsync();
@{encrypted}
Console.WriteLine($"answer: {answer}");
Console.WriteLine($"encrypted (@{witness}): {(encrypted ? "yes" : "no")}");
@{told}return @{wanted} || connect.Contains("SSL Mode=Disable") ? 0 : 1;
""")
PROJECT = """\
<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType>
    <TargetFramework>net8.0</TargetFramework>
    <ImplicitUsings>enable</ImplicitUsings>
  </PropertyGroup>
  <ItemGroup>
    <PackageReference Include="Npgsql" Version="9.*" />
  </ItemGroup>
</Project>
"""
MODES = {"disable": "Disable", "require": "Require", "verify-full": "VerifyFull"}


def snippet(target: Target) -> Snippet:
    """Return the program; CONNECT of the environment outvotes what stands in it."""
    connect = ";".join(f"{key}={_quoted(value)}" for key, value in _pairs(target).items())
    by_server = f"""\
await using var asking = new NpgsqlCommand("{_driver.asked(target)}", connection);
var {"behind" if target.pooled else "encrypted"} = (bool)(await asking.ExecuteScalarAsync())!;"""
    text = PROGRAM.substitute(
        label=target.label,
        connect=_driver.doubly(connect),
        encrypted=f"var encrypted = {'true' if _driver.encrypts(target) else 'false'};\n{by_server}" if target.pooled else by_server,
        witness=_driver.witness(target, promise=True),
        told=f'Console.WriteLine($"{_driver.BEHIND}: {{(behind ? "yes" : "no")}}");\n' if target.pooled else "",
        wanted="(encrypted && behind)" if target.pooled else "encrypted",
    )
    files = {"Program.cs": text, "example.csproj": PROJECT}
    notes = (*_driver.notes(target, binds=True), *named(target))
    return Snippet("dotnet", say(".NET, Npgsql"), "csharp", text, "Program.cs", ("Npgsql",), notes, files, {"CONNECT": connect})


def _pairs(target: Target) -> dict[str, str]:
    found = {"Host": target.endpoint.host, "Port": str(target.endpoint.port), "Database": target.database, "Username": target.user}
    found["SSL Mode"] = MODES[target.sslmode]
    if target.sslmode == "verify-full":
        found["Root Certificate"] = str(target.ca_file)
    if target.sslmode != "disable" and not target.pooled:
        found["Channel Binding"] = "Require"
    if target.passfile is not None:
        found["Passfile"] = str(target.passfile)
    found |= {"Timeout": str(_driver.TIMEOUT_SECONDS), "Keepalive": "30"}
    if target.pool_mode == "session":
        found["Pooling"] = "false"  # a connection that waits in Npgsql's pool keeps a server connection from everybody else
    elif target.shares:
        found["No Reset On Close"] = "true"
    return found


def _quoted(value: str) -> str:
    """Return a value as DbConnectionStringBuilder reads it: double quotes around what is not plain, doubled within.

    >>> print(_quoted('a"b;c'), _quoted("plain"))
    "a""b;c" plain
    """
    return value if value.replace("-", "").replace(".", "").replace("/", "").isalnum() else '"' + value.replace('"', '""') + '"'
