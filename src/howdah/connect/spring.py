"""Spring Boot's settings with HikariCP's pool, and a program that reads them as Spring does and tries them.

The driver is pgJDBC: what its parameters mean stands in jdbc.py. HikariCP keeps connections, so in session mode each keeps a server
connection from everybody else; max-lifetime ends them before anything in between does
(https://github.com/brettwooldridge/HikariCP#gear-configuration-knobs-baby). Flyway, which migrates, gets the direct endpoint:
it takes a lock on the session (https://documentation.red-gate.com/fd/postgresql-database-235241807.html, "transactional lock").
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _driver, jdbc
from howdah.phrase import say

PROGRAM = _driver.Program("""\
// Read application.properties, run a query with a parameter by HikariCP's pool, and say whether the connection is encrypted.
// java -cp postgresql.jar:HikariCP.jar:slf4j-api.jar Pool.java
import com.zaxxer.hikari.*;
import java.io.*;
import java.nio.file.*;
import java.sql.*;
import java.util.Properties;

public class Pool {
    public static void main(String[] arguments) throws Exception {
        Properties spring = new Properties();
        try (InputStream file = Files.newInputStream(Path.of("application.properties"))) {
            spring.load(file);
        }
        if (spring.containsKey("howdah.passfile"))
            System.setProperty("org.postgresql.pgpassfile", spring.getProperty("howdah.passfile"));
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl(spring.getProperty("spring.datasource.url"));
        config.setUsername(spring.getProperty("spring.datasource.username"));
        config.setPassword(System.getenv("PGPASSWORD"));
        config.setMaximumPoolSize(Integer.parseInt(spring.getProperty("spring.datasource.hikari.maximum-pool-size")));
        config.setMinimumIdle(Integer.parseInt(spring.getProperty("spring.datasource.hikari.minimum-idle")));
        config.setMaxLifetime(Long.parseLong(spring.getProperty("spring.datasource.hikari.max-lifetime")));
        config.setInitializationFailTimeout(1);
        String url = config.getJdbcUrl();
        try (HikariDataSource pool = new HikariDataSource(config); Connection connection = pool.getConnection()) {
            try (PreparedStatement query = connection.prepareStatement("SELECT 6 * ?::int")) {
                query.setInt(1, 7);
                ResultSet rows = query.executeQuery();
                rows.next();
                System.out.println("answer: " + rows.getInt(1));
            }
@{encrypted}
        }
    }
}
""")


def snippet(target: Target) -> Snippet:
    """Return the settings, and the program beside them."""
    files = {
        "application.properties": "".join(f"{key}={_value(value)}\n" for key, value in _settings(target).items()),
        "Pool.java": PROGRAM.substitute(encrypted=jdbc.encrypted(target)),
    }
    text = files["application.properties"]
    needs = ("org.postgresql:postgresql", "com.zaxxer:HikariCP", "org.slf4j:slf4j-api")
    title = say("Spring Boot, HikariCP")
    return Snippet("spring", title, "ini", text, "application.properties", needs, _driver.notes(target), files)


def _settings(target: Target) -> dict[str, str]:
    found = {"spring.datasource.url": _url(target), "spring.datasource.username": target.user}
    # Spring hands a password over; without one pgJDBC looks into the passfile that its own property names: -Dorg.postgresql.pgpassfile=
    found["spring.datasource.password"] = "${PGPASSWORD:#{null}}"
    if target.passfile is not None:
        found["howdah.passfile"] = str(target.passfile)
    found["spring.datasource.hikari.maximum-pool-size"] = "10"
    # In session mode a connection that waits in the pool keeps a server connection.
    found["spring.datasource.hikari.minimum-idle"] = "0" if target.pool_mode == "session" else "10"
    found["spring.datasource.hikari.max-lifetime"] = "1800000"
    if target.pooled and target.direct is not None:
        found["spring.flyway.url"] = _url(target.unpooled)
        found["spring.flyway.user"] = target.user
    return found


def _url(target: Target) -> str:
    return jdbc.url(target, user=False)


def _value(text: str) -> str:
    r"""Return a value as java.util.Properties reads it back, whatever the file's encoding is taken for.

    >>> print(_value(" ü\\"))
    \ \u00fc\\
    """
    escaped = text.replace("\\", "\\\\").encode("utf-16-be", "surrogatepass")
    units = [int.from_bytes(escaped[place : place + 2], "big") for place in range(0, len(escaped), 2)]
    written = "".join(chr(unit) if unit < 128 else f"\\u{unit:04x}" for unit in units)
    return f"\\{written}" if written.startswith(" ") else written
