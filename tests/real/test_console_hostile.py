"""The console and whoever means it harm: script-like names and values through every field of every form, and kept in every place."""

from __future__ import annotations

import re
import urllib.parse
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser

import psycopg
from tests.real.instances import Place, Voice
from tests.real.served import ADMIN, Browser, Served, wait

from howdah import compose

HOSTILE = "\"><script>alert(1)</script>'{{7*7}}\x1b[2J"
RAW, ESCAPED = "<script>alert", "&lt;script&gt;alert"


@dataclass
class Form:
    """A form as it stands in a page."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)
    typed: bool = False  # somebody can put something into it


class Reading(HTMLParser):
    """Every form and every link of a page."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path, self.forms, self.links = path, list[Form](), set[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = {name: value or "" for name, value in attrs}
        if tag == "a" and own.get("href", "").startswith("/"):
            self.links.add(own["href"].partition("#")[0])
        elif tag == "form":
            self.forms.append(Form(own.get("action") or self.path.partition("?")[0], own.get("method", "get").lower()))
        elif self.forms and own.get("name") and tag in ("input", "select", "textarea"):
            self.forms[-1].fields.append((own["name"], own.get("value", "")))
            self.forms[-1].typed |= own.get("type") not in ("hidden", "submit")
        elif self.forms and tag == "button" and own.get("name"):
            self.forms[-1].buttons.append((own["name"], own.get("value", "")))


def crawl(someone: Browser, start: str = "/instances", most: int = 150) -> dict[str, str]:
    """Follow every link within the console; of addresses that differ only in a long query, a few are enough."""
    found, ahead, seen = dict[str, str](), [start], {start}
    shapes: dict[str, int] = {}
    while ahead and len(found) < most:
        path = ahead.pop(0)
        status, text, leads = someone.ask(path)
        assert status < 500, (path, text[:300])
        found[path] = text
        reading = Reading(path)
        if text.lstrip().startswith("<!"):
            reading.feed(text)
        for link in sorted({*reading.links, *([leads] if leads else [])} - seen):
            shape = re.sub(r"=[^&]*|\d+", "", link)
            shapes[shape] = shapes.get(shape, 0) + 1
            if shapes[shape] <= 3 and not link.startswith(("/language", "/static")):
                seen.add(link)
                ahead.append(link)
    return found


def test_nothing_typed_into_any_field_is_markup(served: Served) -> None:
    admin = served.browser()
    pages, sent, shown = crawl(admin), 0, 0
    assert {"/instances", "/create", "/account", "/audit", "/instances/shop/users", "/instances/shop/logs"} <= {*pages}
    done = set[tuple[str, tuple[str, ...]]]()
    for path, text in pages.items():
        reading = Reading(path)
        reading.feed(text)
        for form in reading.forms:
            names = tuple(name for name, _ in form.fields)
            if not form.typed or (form.action, names) in done or form.action == "/sign-out":
                continue
            done.add((form.action, names))
            kept = {"token", "generation", "do"}
            filled = [(name, value if name in kept else HOSTILE) for name, value in form.fields]
            for button in form.buttons or [("", "")]:
                pairs = [each for each in [*filled, button] if each[0]]
                if form.method == "get":
                    status, told, _ = admin.ask(f"{form.action}?{urllib.parse.urlencode(pairs)}")
                else:
                    status, told, _ = admin.ask(form.action, pairs)
                assert status < 500, (form.action, pairs, told[:500])
                assert RAW not in told and ">49" not in told, form.action
                sent, shown = sent + 1, shown + (ESCAPED in told)
    assert sent > 15 and shown > 8, (sent, shown)


def test_nothing_kept_anywhere_is_markup(here: Place, served: Served) -> None:
    settings = {"search_path": '"<script>alert(1)</script>"', "default_text_search_config": "pg_catalog.simple"}
    here.service.set_parameters("shop", settings, [], Voice().caller("params set"))
    Browser(served.port, headers={"User-Agent": HOSTILE[:40]}).sign_in()
    assert Browser(served.port).sign_in(HOSTILE, HOSTILE) == 422
    admin = served.browser()
    admin.send("/account", {"do": "token", "label": HOSTILE})
    with here.login("direct", application_name="<script>alert(2)</script>") as direct, here.login() as pooled:
        for session in (direct, pooled):
            with suppress(psycopg.Error):
                session.execute('SELECT 1 AS a FROM "<script>alert(3)</script>"')
            with suppress(psycopg.Error):
                session.rollback()
        wait(lambda: ESCAPED in admin.ask("/instances/shop/logs")[1], 30)
        pages = crawl(admin)
    assert [path for path, text in pages.items() if RAW in text or "\x1b" in text] == []
    shown = {path.partition("?")[0] for path, text in pages.items() if ESCAPED in text}
    assert {"/account", "/audit", "/instances/shop/logs", "/instances/shop/parameters"} <= shown, shown


def test_what_is_asked_for_in_another_way_is_answered_calmly(served: Served) -> None:
    admin = served.browser()
    operation = "/instances/shop/operations"
    for path in ("/sign-out", "/create/check", "/instances/shop/parameters/check", "/once/no", f"{operation}/99999999999999999999"):
        assert admin.ask(path)[0] in (303, 404, 405), path
    for path in ("/instances/%00", f"{operation}/-1", "/instances/shop/connect?client=%00&sslmode=%ff", "/audit?before=nan"):
        assert admin.ask(path)[0] < 500, path


def test_metrics_are_for_this_machine_alone_unless_with_a_token(here: Place, served: Served) -> None:
    anybody = Browser(served.port)
    assert anybody.ask("/metrics")[0] == 200
    assert anybody.ask("/metrics", Host="localhost:9")[0] == 200
    assert anybody.ask("/metrics", Host=f"evil.example:{served.port}")[0] == 401, "a site whose name leads to this machine"
    assert anybody.ask("/metrics", X_Forwarded_For="192.0.2.1")[0] == 401, "through a proxy on this machine"
    people = compose.people(here.home)
    token = people.add_token(people.find(ADMIN), "prometheus", "127.0.0.1").reveal()
    people.register.close()
    assert anybody.ask("/metrics", X_Forwarded_For="192.0.2.1", Authorization=f"Bearer {token}")[0] == 200
    assert anybody.ask("/metrics", X_Forwarded_For="192.0.2.1", Authorization="Bearer x")[0] == 401
    assert Browser(served.port, cookie=f"howdah={token}").ask("/instances")[0] == 303, "a token opens no page"
