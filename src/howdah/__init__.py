"""Howdah: managed PostgreSQL whose connections are encrypted, pooled and proven."""

__version__ = "0.1.0"
