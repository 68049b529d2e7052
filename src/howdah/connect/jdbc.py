"""Java with pgJDBC, which speaks the protocol itself.

https://jdbc.postgresql.org/documentation/ssl/ and /use/: `sslmode=require` encrypts and verifies nothing; `verify-full` takes chain and
host name (an address, too) from `sslrootcert`, a PEM file, and without it from ~/.postgresql/root.crt. A server without TLS is refused by
both. A query is prepared by name at its fifth run (`prepareThreshold`), never with 0; `setFetchSize` reads through a portal, in a
transaction alone. Channel binding is a parameter from 42.7.4 on. The passfile is that of the property org.postgresql.pgpassfile, of
PGPASSFILE or ~/.pgpass; PGPASSWORD it does not read. extra_float_digits stands in its startup message. SNI is Java's, for names with a
dot (rawToSNIHostName in sun.security.ssl.Utilities). A result is read whole unless a fetch size makes a cursor. tcpKeepAlive is off by
default.
"""

from __future__ import annotations

from urllib.parse import quote

from howdah.connect import Snippet, Target, _driver
from howdah.phrase import say

PROGRAM = _driver.Program("""\
// Connect to @{label}, run a query with a parameter, and say whether the connection is encrypted.
// java -cp postgresql.jar @{file}
import java.sql.*;
import java.util.Properties;

public class Main {
    static final String URL =
        @{url};
@{passfile}
    public static void main(String[] arguments) throws Exception {
        String url = System.getenv().getOrDefault("JDBC_URL", URL);
        Properties login = new Properties();
        if (System.getenv("PGPASSWORD") != null) login.setProperty("password", System.getenv("PGPASSWORD"));
@{named}        try (Connection connection = DriverManager.getConnection(url, login)) {
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
NAMED = """\
        System.setProperty("org.postgresql.pgpassfile", System.getenv().getOrDefault("PGPASSFILE", PASSFILE));
"""
BY_SERVER = """\
            try (Statement asking = connection.createStatement()) {
                ResultSet rows = asking.executeQuery("@{asked}");
                rows.next();
                boolean @{seen} = rows.getBoolean(1);
                System.out.println("encrypted (@{witness}): " + (encrypted ? "yes" : "no"));
@{told}                if (!@{wanted} && !url.contains("sslmode=disable")) throw new SQLException("the connection is not encrypted");
            }"""
# There is no public word for it.
BY_CLIENT = """\
            var stream = org.postgresql.core.QueryExecutorBase.class.getDeclaredField("pgStream");
            stream.setAccessible(true);
            var executor = connection.unwrap(org.postgresql.jdbc.PgConnection.class).getQueryExecutor();
            var socket = ((org.postgresql.core.PGStream) stream.get(executor)).getSocket();
            boolean encrypted = socket instanceof javax.net.ssl.SSLSocket;
"""


def snippet(target: Target) -> Snippet:
    """Return the program."""
    text = PROGRAM.substitute(
        label=target.label,
        file="Main.java",
        url=_driver.ascii_only(url(target)),
        passfile=f"    static final String PASSFILE = {_driver.ascii_only(str(target.passfile))};\n" if target.passfile else "",
        named=NAMED if target.passfile else "",
        encrypted=encrypted(target),
    )
    environment = {"JDBC_URL": url(target)} | ({"PGPASSFILE": str(target.passfile)} if target.passfile else {})
    return Snippet(
        "jdbc", say("Java, JDBC"), "java", text, "Main.java", ("org.postgresql:postgresql",), _driver.notes(target), {}, environment
    )


def url(target: Target, user: bool = True) -> str:
    """Return the URL; pgJDBC decodes it by Java's rule, in which a plus is a blank."""
    host = f"[{target.endpoint.host}]" if ":" in target.endpoint.host else target.endpoint.host
    query = "&".join(f"{key}={quote(value, safe='/')}" for key, value in parameters(target, user).items())
    return f"jdbc:postgresql://{host}:{target.endpoint.port}/{quote(target.database, safe='')}?{query}"


def parameters(target: Target, user: bool) -> dict[str, str]:
    """Return pgJDBC's own parameters."""
    found = {"user": target.user} if user else {}
    found["sslmode"] = target.sslmode
    if target.sslmode == "verify-full":
        found["sslrootcert"] = str(target.ca_file)
    if target.shares and not target.prepared:
        # The pooler gives each transaction any server connection: a statement prepared on one is missing on the next.
        found["prepareThreshold"] = "0"
    return found | {"connectTimeout": str(_driver.TIMEOUT_SECONDS), "tcpKeepAlive": "true"}


def encrypted(target: Target) -> str:
    """Return the lines that say whether the connection is encrypted."""
    told = f'                System.out.println("{_driver.BEHIND}: " + (behind ? "yes" : "no"));\n'
    by_server = _driver.Program(BY_SERVER).substitute(
        asked=_driver.asked(target),
        witness=_driver.witness(target),
        seen="behind" if target.pooled else "encrypted",
        told=told if target.pooled else "",
        wanted="(encrypted && behind)" if target.pooled else "encrypted",
    )
    return BY_CLIENT + by_server if target.pooled else by_server
