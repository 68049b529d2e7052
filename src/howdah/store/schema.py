"""The tables, as numbered migrations: the number of those applied is the file's `user_version`, its schema. None is ever
edited, only followed by the next.

A record is JSON in a table, so a new key in it is a new schema too, with a migration that need change no table (`SELECT 1`): an older
Howdah must not meet a record that it cannot read whole. `RECORD` names the keys of the present schema; a test compares them.
"""

from __future__ import annotations

_FIRST = """
CREATE TABLE instance (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    generation INTEGER NOT NULL,
    converged INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    trashed_at REAL
);
CREATE UNIQUE INDEX instance_name ON instance (project, name_key) WHERE trashed_at IS NULL;
CREATE TABLE wish (
    instance_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    record TEXT NOT NULL,
    refused INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (instance_id, generation)
);
CREATE TABLE operation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    instance_id TEXT NOT NULL,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    generation INTEGER NOT NULL,
    verb TEXT NOT NULL,
    actor TEXT NOT NULL,
    asked TEXT NOT NULL DEFAULT '{}',
    outcome TEXT NOT NULL,
    started REAL NOT NULL DEFAULT 0,
    finished REAL NOT NULL DEFAULT 0,
    story TEXT NOT NULL DEFAULT '[]',
    error TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX operation_instance ON operation (instance_id, id);
CREATE INDEX operation_name ON operation (project, name_key, id)
"""

# Restarts learnt to wait for open transactions: a record without `hold` is read as one that waits as long as is usual
_HOLD = "SELECT 1"
# Serials that must not be served (`renewed`), PgBouncers that are to end (`end_of`): a record without them names none
_RENEWED = "SELECT 1"

MIGRATIONS = (_FIRST, _HOLD, _RENEWED)

# What a record of the newest schema consists of: whoever changes a line here follows with a migration.
RECORD = {
    "Instance": "id name version port project engine generation state size direct pooled parameters extensions databases users "
    "deferred restart_of renewed settled end_plaintext hold end_of",
    "Hold": "seconds end",
    "Reach": "listen hostnames allow",
    "User": "name verifier databases shown",
    "Database": "name owner icu_locale",
}
