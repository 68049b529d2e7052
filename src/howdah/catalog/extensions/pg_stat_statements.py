"""Statistics of the statements that a server ran: PostgreSQL's own contrib module."""

from howdah.catalog.extensions import Extension
from howdah.catalog.parameters import Parameter
from howdah.phrase import say

_PARAMETERS = (
    Parameter(
        "pg_stat_statements.max",
        "integer",
        minimum=100,
        maximum=1_073_741_823,
        default="5000",
        context="postmaster",
        description=str(say("Sets the maximum number of statements tracked by pg_stat_statements.")),
    ),
    Parameter(
        "pg_stat_statements.track",
        "enum",
        choices=("none", "top", "all"),
        default="top",
        context="superuser",
        description=str(say("Selects which statements are tracked by pg_stat_statements.")),
    ),
    Parameter(
        "pg_stat_statements.track_utility",
        "bool",
        default="on",
        context="superuser",
        description=str(say("Selects whether utility commands are tracked by pg_stat_statements.")),
    ),
)

EXTENSION = Extension(
    name="pg_stat_statements",
    title=say("Statement statistics"),
    description=say("counts, times and rows of every statement, in the view pg_stat_statements of each database"),
    package="postgresql-{major}",
    preload="pg_stat_statements",
    creates="pg_stat_statements",
    parameters={parameter.name: parameter for parameter in _PARAMETERS},
)
