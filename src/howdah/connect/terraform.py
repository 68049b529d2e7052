r"""A provider block for Terraform's `postgresql` provider (cyrilgdn/postgresql), which stands on Go's lib/pq.

Its words: website/docs/index.html.markdown of the provider; it takes the password from PGPASSWORD. In a quoted string of HCL a backslash
escapes, and ${ and %{ begin a template, doubled they are themselves (https://developer.hashicorp.com/terraform/language/expressions/strings).
Tests read it with a parser of HCL and connect by the values; the provider itself is not run by them.
"""

from __future__ import annotations

import json

from howdah.connect import Snippet, Target, _driver
from howdah.phrase import say

BLOCKS = """\
terraform {{
  required_providers {{
    postgresql = {{
      source = "cyrilgdn/postgresql"
    }}
  }}
}}

provider "postgresql" {{
{arguments}
}}
"""


def snippet(target: Target) -> Snippet:
    """Return the file."""
    place = target.endpoint
    words: dict[str, str | int | bool] = {"host": place.host, "port": place.port, "database": target.database, "username": target.user}
    words["sslmode"] = target.sslmode
    if target.sslmode == "verify-full":
        words["sslrootcert"] = str(target.ca_file)
    words |= {"connect_timeout": _driver.TIMEOUT_SECONDS, "superuser": False}
    width = max(map(len, words))
    text = BLOCKS.format(arguments="\n".join(f"  {key:<{width}} = {_literal(value)}" for key, value in words.items()))
    notes = [*_driver.notes(target), say("the provider takes the password from PGPASSWORD")]
    if target.pooled:
        notes.append(say("what Terraform changes are roles, rights and databases: give it the direct endpoint"))
    return Snippet("terraform", say("Terraform, provider postgresql"), "hcl", text, "provider.tf", ("cyrilgdn/postgresql",), tuple(notes))


def _literal(value: str | int | bool) -> str:
    """Return a value as HCL has it.

    >>> print(_literal('a"${b}%{c}'), _literal(False), _literal(5432))
    "a\\"$${b}%%{c}" false 5432
    """
    if not isinstance(value, str):
        return json.dumps(value)
    return json.dumps(value, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")
