"""The certificate that clients verify with."""

from __future__ import annotations

from howdah.web.visit import Given, Visit


def authority(visit: Visit) -> Given:
    """Give the CA's certificate as a file."""
    return Given(visit.service.authority().pem.encode(), "application/x-pem-file", "howdah-ca.crt")
