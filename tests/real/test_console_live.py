"""The console in a real browser while things happen to it: killed and started again in the middle, and open in two tabs at once."""

from __future__ import annotations

import signal

import pytest
from playwright.sync_api import Browser as Chromium
from tests.real.instances import Place, Voice
from tests.real.served import PAGES, begin, enter, finished, wait
from tests.real.servers import free_port

pytestmark = pytest.mark.alone


def test_serve_is_killed_in_the_middle_and_the_page_goes_on(here: Place, chromium: Chromium) -> None:
    served = begin(here.home)
    try:
        served.await_health()
        page = enter(chromium, served)
        page.goto("/create")
        page.fill("#name", "second")
        page.locator("summary").last.click()
        page.fill("#port", str(free_port()))
        page.locator("input[name=pooler]").uncheck()
        page.click("button.primary")
        assert page.inner_text("pre code"), "the password, once"
        address = page.url
        page.click("a.primary")
        page.locator("#operation").wait_for()
        served.end(signal.SIGKILL)
        served = begin(here.home, served.port)
        finished(page)  # the very page that was open, with nobody touching it
        told = [each for each in here.service.store.operations(here.want("second").id) if each.verb == "create"]
        assert [(each.outcome, each.error) for each in told] == [("done", {})]
        page.goto(address)
        assert page.locator("pre code").count() == 0, "a secret that was shown is not shown again"
        page.goto("/instances/second")
        assert page.locator("h1").inner_text().startswith("second"), "nobody had to sign in again"
        page.context.close()
    finally:
        served.end()


def test_two_tabs_at_once_see_each_other_and_lose_nothing(here: Place, chromium: Chromium) -> None:
    served = begin(here.home)
    try:
        served.await_health()
        one = enter(chromium, served)
        other = one.context.new_page()
        for tab, parameter in ((one, "maintenance_work_mem"), (other, "work_mem")):
            tab.goto(f"/instances/shop/parameters?add={parameter}")
        other.fill("#set-work_mem", "11MB")
        other.click("button[value=review]")
        other.locator("button[value=save]").wait_for()
        one.fill("#set-maintenance_work_mem", "77MB")
        one.click("button[value=review]")
        one.click("button[value=save]")
        finished(one)
        other.click("button[value=save]")  # what was agreed to there was another state of things
        assert "changed meanwhile" in other.inner_text("main") and other.input_value("#set-work_mem") == "11MB"
        other.click("button[value=review]")
        other.click("button[value=save]")
        finished(other)
        assert {"work_mem": "11MB", "maintenance_work_mem": "77MB"}.items() <= here.want().parameters.items()
        other.goto("/instances")
        one.goto("/instances/shop/stop")
        one.click("button.danger, button.primary")
        other.locator("tr:has-text('shop') >> text=stopped").wait_for()  # the list tells it by itself
        one.goto("/account")
        one.click("form[action='/sign-out'] button")
        other.goto("/instances/shop")
        assert "/sign-in" in other.url, "signing out in one tab is signing out in all"
        one.context.close()
    finally:
        served.end()
    wait(lambda: here.service.holder(here.want().id) is None)
    here.service.start("shop", Voice().caller("start"))


def test_no_page_breaks_its_own_policy(here: Place, chromium: Chromium) -> None:
    served = begin(here.home)
    try:
        served.await_health()
        page = enter(chromium, served)
        told: list[str] = []
        page.on("console", lambda message: told.append(f"{page.url}: {message.text}") if message.type in ("error", "warning") else None)
        for path in PAGES.values():
            page.goto(path)
            page.wait_for_load_state("load")
        page.context.close()
        assert told == []
    finally:
        served.end()
