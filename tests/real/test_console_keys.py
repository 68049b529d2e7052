"""The console by the keyboard alone: every control of the walk is reached by Tab, shows that it is, and is worked by a key."""

from __future__ import annotations

from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page
from tests.real.instances import Place
from tests.real.served import ADMIN, PASSWORD, Served, wait

_MOST_TABS = 120
_FOCUSED = """(wanted) => {
    const at = document.activeElement, look = getComputedStyle(at);
    return at.matches(wanted) ? (look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 2 ? "seen" : "unseen") : "";
}"""


def reach(page: Page, wanted: str) -> None:
    """Press Tab until a control has the focus, and see that it shows."""
    for _ in range(_MOST_TABS):
        page.keyboard.press("Tab")
        if told := page.evaluate(_FOCUSED, wanted):
            assert told == "seen", f"{wanted} has the focus, and nobody sees it"
            return
    raise AssertionError(f"Tab does not lead to {wanted}")


def enter_at(page: Page, wanted: str) -> None:
    """Reach a link or button and press Enter, which leads to another page."""
    reach(page, wanted)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def test_the_walk_goes_by_the_keyboard_alone(chromium: Chromium, served: Served, here: Place) -> None:
    context = chromium.new_context(base_url=served.url, locale="en-US")
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.goto("/")
    page.keyboard.type(ADMIN)  # the first field has the focus
    reach(page, "#password")
    page.keyboard.type(PASSWORD)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(_FOCUSED, ".skip") == "seen", "the first thing is a way past the bar"

    enter_at(page, "#i-shop")
    enter_at(page, ".tabs a[href$=parameters]")
    reach(page, "#add")
    page.keyboard.type("work_mem")
    enter_at(page, "button[value=add]")
    reach(page, "#set-work_mem")
    page.keyboard.type("12MB")
    enter_at(page, "button[value=review]")
    enter_at(page, "button[value=save]")
    page.locator("#on").wait_for()
    assert here.want().parameters["work_mem"] == "12MB"

    enter_at(page, ".tabs a[href$=extensions]")
    enter_at(page, "a[href$='extensions/pooler']")
    reach(page, "#set-max_client_conn")
    page.keyboard.press("Control+a")
    page.keyboard.type("500")
    enter_at(page, "button[value=review]")
    enter_at(page, "button[value=save]")
    page.locator("#on").wait_for()
    assert here.want().extensions["pooler"]["max_client_conn"] == "500"

    enter_at(page, ".tabs a[href$=operations]")
    reach(page, "summary")
    page.keyboard.press("Space")
    page.locator("details[open] .steps li").first.wait_for()
    enter_at(page, "#act-delete")
    reach(page, "#typed")
    page.keyboard.type("shop")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    wait(lambda: here.service.known("shop") is None, 120, served.said)
    context.close()
