"""The console in a real browser, over real servers: the whole walk in both languages, what it looks like, whom it lets do what."""

from __future__ import annotations

import os
import re
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page
from tests.real.instances import Place
from tests.real.served import ADMIN, PAGES, Browser, Served, begin, enter, finished, serving, wait
from tests.real.servers import free_port

from howdah import compose

AXE = Path(__file__).parents[1] / "vendor" / "axe-4.14.1.min.js"
PICTURES = Path(os.environ["HOWDAH_PICTURES"]) if "HOWDAH_PICTURES" in os.environ else None
LARGEST = 100_000
WORDS = {
    "en": {"done": "done", "title": "Database instances", "parameters": "Database parameters", "extensions": "Extensions", "save": "Save"},
    "ru": {
        "done": "готово",
        "title": "Инстансы баз данных",
        "parameters": "Параметры баз данных",
        "extensions": "Расширения",
        "save": "Сохранить",
    },
}
HOSTILE = "\"><script>alert(1)</script>'{{7*7}}"


@pytest.mark.parametrize(("language", "scripts"), [("en", False), pytest.param("ru", True, marks=pytest.mark.long)])
def test_the_walk_from_signing_in_to_deletion(chromium: Chromium, served: Served, here: Place, language: str, scripts: bool) -> None:
    words, name, port = WORDS[language], f"walk-{language}", free_port()
    page = enter(chromium, served, locale={"en": "en-US", "ru": "ru-RU"}[language], java_script_enabled=scripts)
    assert page.inner_text("h1") == words["title"]
    page.click("a[href='/create']")
    page.fill("#name", name)
    page.locator("input[name=pooler]").uncheck()
    page.locator("summary").last.click()
    page.fill("#port", str(free_port()))
    page.fill("#parameters", "ssl=off")
    page.click("button.primary")
    password = page.inner_text("pre code")
    page.click("a.primary")
    finished(page)
    page.click("#on")

    page.click(f"nav.tabs >> text={words['parameters']}")  # → add a parameter → ssl = on → save, and confirm
    page.fill("#add", "ssl")
    page.click("button[value=add]")
    page.select_option("#set-ssl", "on")
    assert page.inner_text("button[value=review]") == words["save"]
    page.click("button[value=review]")
    assert page.locator("tr:has-text('ssl') td.old").inner_text() == "off"
    page.click("button[value=save]")
    finished(page)
    assert words["done"] in page.inner_text("#operation")

    page.click(f"nav.tabs >> text={words['extensions']}")  # → add → pooler → its parameters → save, and wait
    page.click("a[href$='extensions/pooler']")
    page.select_option("#set-pool_mode", "session")
    page.fill("#set-max_client_conn", "300")
    page.fill("#set-listen_port", str(port))
    page.click("button[value=review]")
    finished(page)
    assert words["done"] in page.inner_text("#operation")

    page.goto(f"/instances/{name}/connect?client=uri&sslmode=require")
    uri = page.inner_text("#string pre code").strip()
    assert f":{port}/app" in uri and "sslmode=require" in uri
    with psycopg.connect(uri, password=password, connect_timeout=30) as session:
        assert session.pgconn.ssl_in_use and session.execute("SELECT current_user").fetchone() == ("app",)

    page.click("#act-delete")
    page.fill("#typed", name)
    page.click("button.danger")
    wait(lambda: here.service.known(name) is None, 120, served.said)
    page.context.close()


def test_a_bad_value_is_told_beside_its_field_and_nothing_typed_is_lost(chromium: Chromium, served: Served) -> None:
    page = enter(chromium, served)
    page.goto("/instances/shop/parameters?add=work_mem&add=timezone")
    page.fill("#set-work_mem", "lots")
    page.fill("#set-timezone", "Mars/Olympus")
    page.click("button[value=review]")
    assert "work_mem=lots" in page.inner_text(".has-error .wrong") and page.input_value("#set-timezone") == "Mars/Olympus"
    page.fill("#set-work_mem", "8MB")
    page.click("button[value=review]")
    page.click("button[value=save]")
    finished(page)
    page.click("#operation a.primary")  # back to the form
    assert "Mars/Olympus" in page.inner_text(".row:has(#set-timezone) .wrong"), "PostgreSQL's own words"
    assert (page.input_value("#set-timezone"), page.input_value("#set-work_mem")) == ("Mars/Olympus", "8MB")
    page.context.close()


def test_two_tabs_do_not_overwrite_each_other(served: Served) -> None:
    one, other = served.browser(), served.browser()
    path = "/instances/shop/parameters"
    generation = re.search(r'name="generation" value="(\d+)"', one.send(path, {"set:work_mem": "9MB", "do": "review"})[1])
    assert generation is not None
    stale = {"do": "save", "generation": generation[1]}
    done = other.send(path, {**stale, "set:maintenance_work_mem": "99MB"})
    assert done[0] == 303
    wait(lambda: "#operation" and 'hx-trigger="every 700ms"' not in other.ask(done[2])[1], 120)
    status, text, _ = one.send(path, {**stale, "set:work_mem": "9MB"})
    assert status == 422 and "changed meanwhile" in text and 'value="9MB"' in text


@pytest.mark.long
@pytest.mark.parametrize("look", ["light-1440", "dark-360"])
def test_every_page_is_accessible_light_and_fits(chromium: Chromium, served: Served, look: str) -> None:
    theme, width = look.split("-")
    options = {"viewport": {"width": int(width), "height": 900}, "color_scheme": theme, "locale": "ru-RU" if theme == "dark" else "en-US"}
    page = enter(chromium, served, **options)
    found: list[str] = []
    for name, path in PAGES.items():
        answer = page.goto(path)
        assert answer is not None and answer.status == 200, name
        assert len(answer.body()) < LARGEST, name
        found += judged(page, name, look)
    for name, path, act in FORMS:
        page.goto(path)
        for field, value in act.items():
            page.fill(field, value.format(width=width)) if value else page.click(field)
        found += judged(page, name, look)
    page.locator("#on").wait_for()
    found += judged(page, "operation", look)
    page.goto("/instances/shop/security")
    page.click("button[value=verify]")
    page.locator("#verdict").wait_for()
    found += judged(page, "security", look)
    page.context.clear_cookies()
    page.goto("/sign-in")
    found += judged(page, "sign-in", look)
    page.context.close()
    assert not found, "\n".join(found)


# pages that a form leads to; the last one leads to an operation under way
FORMS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("nothing", "/instances/nothing", {}),
    ("wrong", "/create", {"#name": "no such name, please", "button.primary": ""}),
    ("asked", "/instances/shop/users?edit=app", {"button[value=password]": ""}),
    ("extension-review", "/instances/shop/extensions/pooler", {"#set-max_client_conn": "700", "button[value=review]": ""}),
    ("leaving", "/instances/shop/databases", {"button[value=leave]": ""}),
    ("once", "/account", {"#label": "prometheus", "button[value=token]": ""}),
    (
        "parameters-review",
        "/instances/shop/parameters?add=deadlock_timeout",
        {"#set-deadlock_timeout": "2s", "button[value=review]": ""},
    ),
    (
        "under-way",
        "/instances/shop/parameters?add=deadlock_timeout",
        {"#set-deadlock_timeout": "{width}ms", "button[value=review]": "", "button[value=save]": ""},
    ),
)


def judged(page: Page, name: str, look: str) -> list[str]:
    """Return what is wrong with how a page looks and can be used; take its picture where somebody wants it."""
    page.evaluate(AXE.read_text())  # by the browser's own tools: a page's policy lets nothing in that is not its own
    told = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})")
    serious = [each for each in told["violations"] if each["impact"] in ("serious", "critical")]
    found = [f"{name}: {each['id']}: {each['nodes'][0]['html'][:200]}" for each in serious]
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if PICTURES is not None:
        page.wait_for_timeout(400)
        page.screenshot(path=PICTURES / f"{name}-{look}.png", full_page=True)
    return found + ([f"{name}: {overflow} px too wide"] if overflow > 0 else [])


def test_serve_may_be_restarted_in_the_middle(here: Place) -> None:
    with serving(here.home) as first:
        someone = first.browser()
        port = first.port
    second = begin(here.home, port)
    try:
        second.await_health()
        assert someone.ask("/instances")[0] == 200, "a session outlives a restart"
        assert someone.send("/instances/shop/databases", {"do": "add", "database": "meanwhile"})[0] == 303
    finally:
        second.end()


def test_who_may_do_what(here: Place, served: Served) -> None:
    people = compose.people(here.home)
    made = people.add("rita", "reader", None)
    assert made is not None
    reader, stranger = Browser(served.port), Browser(served.port)
    assert reader.sign_in("rita", made.reveal()) == 303
    assert reader.ask("/instances/shop")[0] == 200
    for path in ("parameters", "extensions/pooler", "databases", "users", "security"):
        status, text, _ = reader.ask(f"/instances/shop/{path}")
        assert status == 200 and not re.search(r'name="do" value="(?!search)', text), f"{path} offers nothing that a reader may not do"
    assert stranger.ask("/instances/shop") == (303, "", "/sign-in?to=/instances/shop")
    for path in ("/create", "/instances/shop/delete", "/audit"):
        assert reader.ask(path)[0] == 403, path
    for path in (
        "/create",
        "/instances/shop/parameters",
        "/instances/shop/extensions/pooler",
        "/instances/shop/delete",
        "/instances/shop/users",
    ):
        assert reader.send(path, {"do": "save", "typed": "shop"})[0] == 403, path
    admin = served.browser()
    assert admin.ask("/instances/shop/databases", {"do": "add", "database": "x"})[0] == 403, "without the form's token"
    assert admin.send("/instances/shop/databases", {"do": "add", "database": "x", "token": reader.token()})[0] == 403
    assert admin.ask("/sign-out", {"token": admin.token()}, Origin="http://elsewhere.example")[0] == 403
    assert admin.ask("/sign-out", {"token": admin.token()})[0] == 303
    assert admin.ask("/instances")[0] == 303, "signed out"
    lines = [(deed.account, deed.verb, deed.outcome) for deed in people.deeds(200)]
    assert ("rita", "delete", "not_allowed") in lines and (ADMIN, "sign out", "done") in lines
    people.delete("rita")
    assert reader.ask("/instances")[0] == 303
    people.register.close()


def test_guessing_is_slowed_down(here: Place, served: Served) -> None:
    people = compose.people(here.home)
    people.add("gus", "reader", None)
    people.register.close()
    statuses = [Browser(served.port).sign_in("gus", f"wrong {number}") for number in range(7)]
    assert statuses == [422] * 5 + [429] * 2


def test_what_is_typed_is_never_markup(served: Served) -> None:
    admin = served.browser()
    shop = "/instances/shop"
    forms: list[tuple[str, dict[str, str]]] = [
        (
            "/create",
            dict.fromkeys(("name", "database", "user", "port", "listen", "hostname", "allow", "parameters", "version", "size"), HOSTILE),
        ),
        (f"{shop}/parameters", {"set:work_mem": HOSTILE, "q": HOSTILE, "do": "review"}),
        (f"{shop}/parameters", {"add": HOSTILE, "do": "add"}),
        ("/create/check", dict.fromkeys(("name", "database", "user", "port", "listen", "password", "parameters"), HOSTILE)),
        (f"{shop}/parameters/check", {"set:work_mem": HOSTILE, "set:search_path": HOSTILE, f"set:{HOSTILE}": HOSTILE}),
        (f"{shop}/extensions/pooler/check", {"set:pool_mode": HOSTILE, f"set:{HOSTILE}": HOSTILE}),
        (f"{shop}/extensions/pooler", {"set:pool_mode": HOSTILE, "set:max_client_conn": HOSTILE, "do": "review"}),
        (f"{shop}/databases", {"database": HOSTILE, "do": "leave"}),
        (f"{shop}/databases", {"database": HOSTILE, "owner": HOSTILE, "do": "add"}),
        (f"{shop}/users", {"user": HOSTILE, "database": HOSTILE, "do": "leave"}),
        (f"{shop}/users", {"user": HOSTILE, "database": HOSTILE, "do": "add"}),
        (f"{shop}/delete", {"typed": HOSTILE}),
        ("/account", {"do": "add", "name": HOSTILE, "role": HOSTILE}),
        ("/account", {"do": "token", "label": HOSTILE}),
    ]
    seen = [admin.send(path, form)[1] for path, form in forms]
    quoted = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E"
    paths = (
        f"/instances/{quoted}",
        f"{shop}/logs?q={quoted}",
        f"{shop}/connect?user={quoted}",
        f"/audit?about={quoted}",
        "/account",
        f"/{quoted}",
    )
    seen += [admin.ask(path)[1] for path in paths]
    assert all("<script>alert" not in text and ">49" not in text for text in seen)
    assert sum("&lt;script&gt;" in text for text in seen) > 8, "it was shown, escaped"
    policy = "script-src 'self'"
    assert policy in _header(served, "/sign-in", "content-security-policy") and "unsafe" not in _header(
        served, "/sign-in", "content-security-policy"
    )


def _header(served: Served, path: str, name: str) -> str:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.request("GET", path)
    value = connection.getresponse().getheader(name) or ""
    connection.close()
    return value
