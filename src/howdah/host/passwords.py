"""Passwords of people who enter the console: argon2id makes of them what is kept. The one home of argon2, imported when first needed."""

from __future__ import annotations

import functools
import secrets
import string
import threading
from typing import TYPE_CHECKING

from howdah.secret import Secret

if TYPE_CHECKING:
    from argon2 import PasswordHasher

_LETTERS = string.ascii_letters + string.digits
_AT_ONCE = threading.Semaphore(2)  # each takes 64 MiB and a core for some 30 ms: a crowd of tries shall not take the machine


class Argon2:
    """Passwords by argon2id, with the parameters of RFC 9106's second choice, which argon2-cffi has for its own."""

    def make(self) -> Secret:
        """Return a new random password of 142 bits."""
        return Secret("".join(secrets.choice(_LETTERS) for _ in range(24)))

    def token(self) -> Secret:
        """Return what a session or a program carries: 256 random bits."""
        return Secret(secrets.token_urlsafe(32))

    def digest(self, password: Secret) -> Secret:
        """Return what is kept of a password."""
        with _AT_ONCE:
            return Secret(_hasher().hash(password.reveal()))

    def right(self, kept: Secret | None, password: Secret) -> bool:
        """Tell whether a password is the right one; where nothing is kept it takes as long, so that nobody learns which names there are."""
        from argon2.exceptions import InvalidHashError, VerificationError

        with _AT_ONCE:
            try:
                _hasher().verify(kept.reveal() if kept is not None else _nobody(), password.reveal())
            except (VerificationError, InvalidHashError):
                return False
        return kept is not None


@functools.cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()


@functools.cache
def _nobody() -> str:
    return _hasher().hash(secrets.token_hex(16))
