"""Rust with tokio-postgres, which speaks the protocol itself, and native-tls (OpenSSL on Linux).

https://docs.rs/tokio-postgres/latest/tokio_postgres/config/struct.Config.html: sslmode is disable, prefer or require; a server without
TLS is refused by require; what is verified, by which CA, is the connector's matter (struct TlsConnectorBuilder of native-tls): chain and
host name, an address, too, unless it is told to accept what is invalid. SNI is sent for names. `channel_binding=require` works with this
connector. `query` prepares by name; `query_typed` (0.7.11) sends parameters with their types in one round trip, without a name. There is
no passfile, so the program reads it. keepalives are on, after two hours. A cursor is a portal, within a transaction alone
(`Transaction::bind`, `query_portal`).
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _driver, _libpq
from howdah.phrase import say

PROGRAM = _driver.Program("""\
// Connect to @{label}, run a query with a parameter, and say whether the connection is encrypted.
use std::{env, fs};

use native_tls::{Certificate, TlsConnector};
use postgres_native_tls::MakeTlsConnector;
use tokio_postgres::{config::SslMode, types::Type, Config};

const DATABASE: &str = @{database};
const CA: &str = @{ca};
const PASSFILE: &str = @{passfile};

/// The password of the first line of a passfile that fits; fields end at a colon, a backslash keeps the next character.
fn password(passfile: &str, place: &[String]) -> Option<String> {
    if let Ok(given) = env::var("PGPASSWORD") {
        return Some(given);
    }
    fs::read_to_string(passfile).ok()?.lines().find_map(|line| {
        let (mut fields, mut escaped) = (vec![(String::new(), false)], false);
        for character in line.chars() {
            let last = fields.len() - 1;
            match character {
                '\\\\' if !escaped => { escaped = true; fields[last].1 = true; continue }
                ':' if !escaped => fields.push((String::new(), false)),
                _ => fields[last].0.push(character),
            }
            escaped = false;
        }
        let fits = fields.len() == 5 && fields.iter().zip(place).all(|(field, wanted)| (field.0 == "*" && !field.1) || field.0 == *wanted);
        fits.then(|| fields.remove(4).0)
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let setting = |name: &str, given: &str| env::var(name).unwrap_or(given.to_string());
    let mut config: Config = setting("DATABASE", DATABASE).parse()?;
    let home = setting("HOME", "");
    let passfile = setting("PGPASSFILE", if PASSFILE.is_empty() { format!("{home}/.pgpass") } else { PASSFILE.to_string() }.as_str());
    let host = match &config.get_hosts()[0] {
        tokio_postgres::config::Host::Tcp(name) => name.clone(),
        _ => "localhost".to_string(),
    };
    let (database, user) = (config.get_dbname().unwrap_or("").to_string(), config.get_user().unwrap_or("").to_string());
    if let Some(found) = password(&passfile, &[host, config.get_ports()[0].to_string(), database, user]) {
        config.password(found);
    }

    let mut connector = TlsConnector::builder();
    let ca = setting("CA", CA);
    if ca.is_empty() {
        // require: encrypts and verifies nothing
        connector.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
    } else {
        // verify-full: chain and host name
        connector.disable_built_in_roots(true).add_root_certificate(Certificate::from_pem(&fs::read(&ca)?)?);
    }
    let (client, connection) = config.connect(MakeTlsConnector::new(connector.build()?)).await?;
    let serving = tokio::spawn(connection);

    let answer: i32 = client.@{query}.await?.get(0);
@{encrypted}
    println!("answer: {answer}");
    println!("encrypted (@{witness}): {}", if encrypted { "yes" } else { "no" });
@{told}    if !@{wanted} && config.get_ssl_mode() != SslMode::Disable {
        return Err("cannot go on: the connection is not encrypted".into());
    }
    drop(client);
    serving.await??;
    Ok(())
}
""")
MANIFEST = """\
[package]
name = "example"
version = "0.1.0"
edition = "2021"

[dependencies]
native-tls = "0.2"
postgres-native-tls = "0.5"
tokio = { version = "1", features = ["macros", "rt"] }
tokio-postgres = "0.7.11"
"""
PREPARED = 'query_one("SELECT 6 * $1::int", &[&7i32])'
# The pooler gives each transaction any server connection: a statement prepared on one is missing on the next.
TYPED = 'query_typed("SELECT 6 * $1::int", &[(&7i32, Type::INT4)])'


def snippet(target: Target) -> Snippet:
    """Return the program; DATABASE and CA of the environment outvote what stands in it."""
    environment = {"DATABASE": _database(target), "CA": str(target.ca_file) if target.sslmode == "verify-full" else ""}
    if target.passfile is not None:
        environment["PGPASSFILE"] = str(target.passfile)
    fragile = target.shares and not target.prepared
    text = PROGRAM.substitute(
        label=target.label,
        database=_driver.doubly(environment["DATABASE"]),
        ca=_driver.doubly(environment["CA"]),
        passfile=_driver.doubly(environment.get("PGPASSFILE", "")),
        query=TYPED if fragile else PREPARED,
        encrypted=_encrypted(target, fragile),
        told=f'    println!("{_driver.BEHIND}: {{}}", if behind {{ "yes" }} else {{ "no" }});\n' if target.pooled else "",
        wanted="(encrypted && behind)" if target.pooled else "encrypted",
        witness=_driver.witness(target, promise=True),
    )
    once = (".await?.get(0);", ".await?[0].get(0);") if fragile else (", types::Type, Config", ", Config")
    text = text.replace(*once)
    needs = ("tokio-postgres", "postgres-native-tls", "native-tls", "tokio")
    files = {"src/main.rs": text, "Cargo.toml": MANIFEST}
    notes = _driver.notes(target, binds=True)
    return Snippet("rust", say("Rust, tokio-postgres"), "rust", text, "src/main.rs", needs, notes, files, environment)


def _database(target: Target) -> str:
    pairs = {key: value for key, value in _libpq.keywords(target).items() if key not in ("sslrootcert", "passfile")}
    pairs["sslmode"] = "disable" if target.sslmode == "disable" else "require"
    return _libpq.conninfo(pairs | {"connect_timeout": str(_driver.TIMEOUT_SECONDS)})


def _encrypted(target: Target, fragile: bool) -> str:
    if not target.pooled:
        return f'    let encrypted: bool = client.query_one("{_driver.asked(target)}", &[]).await?.get(0);'
    call, row = ("query_typed", "[0]") if fragile else ("query_one", "")
    promise = "    let encrypted = config.get_ssl_mode() == SslMode::Require;\n"
    return f'{promise}    let behind: bool = client.{call}("{_driver.asked(target)}", &[]).await?{row}.get(0);'
