"""The verbs of Howdah: the only door for every edge."""

from howdah.service.caller import Caller, Done, Question, Seen
from howdah.service.verbs import Service

__all__ = ["Caller", "Done", "Question", "Seen", "Service"]
