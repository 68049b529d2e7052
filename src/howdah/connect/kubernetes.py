"""A Secret of Kubernetes with what libpq reads from the environment, a URL, and, where it is asked for, the password and the CA itself.

`stringData` takes text as it is, and the cluster encodes it (https://kubernetes.io/docs/concepts/configuration/secret/). A JSON string is a
YAML string. The names are those of environment variables, for `envFrom`; `ca.crt` is for a volume.
"""

from __future__ import annotations

import json
import re

from howdah.connect import Snippet, Target, _libpq, dotenv
from howdah.phrase import say


def snippet(target: Target) -> Snippet:
    """Return the manifest."""
    words = {_libpq.VARIABLES[key]: value for key, value in _libpq.keywords(target).items() if key != "passfile"}
    words["DATABASE_URL"] = dotenv.url(target)
    if target.password is not None:
        words["PGPASSWORD"] = target.password.reveal()
    if target.ca_pem is not None and target.sslmode == "verify-full":
        words["ca.crt"] = target.ca_pem
    lines = [f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in words.items()]
    text = "\n".join(
        ["apiVersion: v1", "kind: Secret", "metadata:", f"  name: {_name(target.label)}", "type: Opaque", "stringData:", *lines]
    )
    notes = [*_libpq.notes(target)]
    if target.sslmode == "verify-full":
        notes.append(say("mount its key ca.crt so that the certificate lies at {ca_file}, or name another place", ca_file=target.ca_file))
    if target.password is None:
        notes.append(say("--with-password puts the password into it, and the authority's certificate"))
    reach = f"howdah endpoints set {target.instance} --listen ADDR --hostname DNS"
    notes.append(say("{host} must be reached from within the cluster: {command}", host=target.endpoint.host, command=reach))
    return Snippet("kubernetes", say("Kubernetes, a Secret"), "yaml", text + "\n", f"{target.label}.yaml", notes=tuple(notes))


def _name(label: str) -> str:
    """Return a name as Kubernetes takes one (RFC 1123).

    >>> _name("My_Shop.-pooled")
    'my-shop.-pooled'
    """
    return re.sub(r"\.(?=\.|$)", "-", re.sub(r"[^a-z0-9.-]", "-", label.lower())).strip("-.")
