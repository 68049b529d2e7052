"""Draws a page from its template and its one context. The home of Jinja2: what stands in a page is escaped unless we marked it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jinja2

from howdah.core.people import Role
from howdah.phrase import Phrase
from howdah.web import urls
from howdah.web.visit import Shown, Visit


@dataclass(frozen=True)
class Frame:
    """What stands around every page."""

    title: str
    path: str
    language: str
    theme: str
    account: str
    role: Role
    csrf: str
    notice: str
    tab: str


class Rendering:
    """The templates, read once."""

    def __init__(self) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals["url"] = urls

    def __call__(self, visit: Visit, answer: Shown) -> str:
        """Return the page as HTML."""
        frame = Frame(
            title=visit.say(answer.title),
            path=visit.path,
            language=visit.say.language,
            theme=visit.theme,
            account=visit.account,
            role=visit.role,
            csrf=visit.csrf,
            notice=_notice(visit),
            tab=answer.tab,
        )
        template = self._environment.get_template(answer.template)
        return template.render(page=answer.page, frame=frame, head=answer.head, _=visit.say, may=visit.may)


def _notice(visit: Visit) -> str:
    if visit.visitor is None:
        return ""
    digest = visit.visitor.entry.digest
    found: Phrase | None = visit.desk.notices.take(digest, f"notice:{digest}")
    return visit.say(found) if found is not None else ""
