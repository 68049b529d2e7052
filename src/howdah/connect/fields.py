"""The fields of a graphical client, as DBeaver and DataGrip call them; both stand on pgJDBC, whose facts are in jdbc.py.

DBeaver: https://dbeaver.com/docs/dbeaver/SSL-Configuration/; DataGrip:
https://www.jetbrains.com/help/datagrip/configuring-ssh-and-ssl.html. Both take "pgpass" as a way to log in, and hand everything else on as
properties of the driver. Tests do with the fields what those programs do, by pgJDBC.
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _driver, jdbc
from howdah.phrase import say


def snippet(target: Target) -> Snippet:
    """Return one line for each field."""
    fields = {"Host": target.endpoint.host, "Port": str(target.endpoint.port), "Database": target.database, "User": target.user}
    if target.passfile is not None:
        fields |= {"Authentication": "PgPass", "Password file (PGPASSFILE)": str(target.passfile)}
    fields["SSL"] = "off" if target.sslmode == "disable" else "on"
    fields["SSL mode"] = target.sslmode
    if target.sslmode == "verify-full":
        fields["CA certificate"] = str(target.ca_file)
    further = {key: value for key, value in jdbc.parameters(target, user=False).items() if not key.startswith("ssl")}
    fields |= {f"Driver property {key}": value for key, value in further.items()}
    fields["URL"] = jdbc.url(target, user=False)
    width = max(map(len, fields)) + 2
    text = "".join(f"{key:<{width}}{value}\n" for key, value in fields.items())
    title = say("fields of a graphical client (DBeaver, DataGrip)")
    return Snippet("fields", title, "text", text, f"{target.label}.txt", notes=_driver.notes(target))
