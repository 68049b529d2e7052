"""Statistics of the statements that a server ran: PostgreSQL's own contrib module."""

from howdah.catalog.extensions import Extension, Setting
from howdah.phrase import say

_SETTINGS = (
    Setting("pg_stat_statements.max", "integer", say("how many statements are kept; a restart applies it"), "5000", 100, 1_073_741_823),
    Setting("pg_stat_statements.track", "enum", say("which statements are counted"), "top", choices=("none", "top", "all")),
    Setting("pg_stat_statements.track_utility", "boolean", say("count statements other than queries too"), "1"),
)

EXTENSION = Extension(
    name="pg_stat_statements",
    title=say("Statement statistics"),
    description=say("counts, times and rows of every statement, in the view pg_stat_statements of each database"),
    preload="pg_stat_statements",
    creates="pg_stat_statements",
    parameters={setting.name: setting for setting in _SETTINGS},
)
