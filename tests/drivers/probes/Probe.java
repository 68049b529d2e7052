// By the snippet's URL: one line in, one line out.
import java.io.*;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class Probe {
    static final Map<String, Connection> open = new HashMap<>();
    static final Map<String, PreparedStatement> kept = new HashMap<>();

    static Object first(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            if (!statement.execute(sql)) return "-";
            ResultSet rows = statement.getResultSet();
            return rows.next() ? rows.getObject(1) : "-";
        }
    }

    static Object answer(String verb, String name, String rest) throws Exception {
        if (verb.equals("open")) {
            open.put(name, DriverManager.getConnection(System.getenv("JDBC_URL")));
            return "-";
        }
        Connection connection = open.get(name);
        switch (verb) {
            case "do": return first(connection, rest);
            case "ask": case "named": {
                PreparedStatement query = kept.get(name);
                if (query == null) kept.put(name, query = connection.prepareStatement("SELECT 6 * ?::int"));
                query.setInt(1, 7);
                ResultSet rows = query.executeQuery();
                rows.next();
                return rows.getInt(1);
            }
            case "cursor": {
                connection.setAutoCommit(false);
                int count = 0;
                try (Statement statement = connection.createStatement()) {
                    statement.setFetchSize(100);
                    ResultSet rows = statement.executeQuery("SELECT generate_series(1, " + rest + ")");
                    while (rows.next()) count++;
                }
                connection.commit();
                connection.setAutoCommit(true);
                return count;
            }
            case "big": {
                int count = 0;
                try (Statement statement = connection.createStatement()) {
                    ResultSet rows = statement.executeQuery("SELECT generate_series(1, " + rest + ")");
                    while (rows.next()) count++;
                }
                return count;
            }
            case "copy": {
                connection.setAutoCommit(false);
                first(connection, "CREATE TEMP TABLE copied (n int) ON COMMIT DROP");
                CopyManager copy = connection.unwrap(PGConnection.class).getCopyAPI();
                StringBuilder lines = new StringBuilder();
                for (int n = 0; n < Integer.parseInt(rest); n++) lines.append(n).append('\n');
                copy.copyIn("COPY copied FROM STDIN", new StringReader(lines.toString()));
                long count = copy.copyOut("COPY copied TO STDOUT", new StringWriter());
                connection.commit();
                connection.setAutoCommit(true);
                return count;
            }
            case "cancel": {
                Statement statement = connection.createStatement();
                new Thread(() -> {
                    try { Thread.sleep(300); statement.cancel(); } catch (Exception error) { System.err.println(error); }
                }).start();
                statement.setQueryTimeout(5);
                statement.execute("SELECT pg_sleep(20)");
                return "-";
            }
            case "heard": {
                var told = connection.unwrap(PGConnection.class).getNotifications(500);
                return told != null && told.length > 0 ? "yes" : "no";
            }
            default: return "-";
        }
    }

    public static void main(String[] arguments) throws IOException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.split(" ", 3);
            String said;
            try { said = String.valueOf(answer(words[0], words[1], words.length > 2 ? words[2] : "")); }
            catch (Exception error) { said = "error: " + error.getMessage(); }
            System.out.println("= " + said.replaceAll("\\s+", " "));
        }
    }
}
