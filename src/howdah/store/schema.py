"""The tables, as numbered migrations: the number of those applied is the file's `user_version`. One is never edited, only followed."""

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

MIGRATIONS = (_FIRST,)
