"""What each page of the console tells, in a real browser over real servers: while one types, before a change, and after it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect
from tests.real.instances import DATABASE, Place, asks, place
from tests.real.served import Served, begin, enter, whole_weight

from howdah import compose
from howdah.host import installed


def wrong(page: Page, field: str) -> str:
    """Return what stands beside a field, once something does."""
    told = page.locator(f":is(.field, .row-value):has({field}) p.wrong:visible")
    told.wait_for()
    return told.inner_text()


def test_while_one_types_the_server_says_what_is_wrong(chromium: Chromium, served: Served) -> None:
    page = enter(chromium, served)
    page.goto("/create")
    page.fill("#name", "no spaces, please")
    assert "1 to 63 letters" in wrong(page, "#name")
    page.fill("#name", "shop")
    page.locator("summary").first.click()
    page.fill("#max_client_conn", "many")
    assert "max_client_conn=many" in wrong(page, "#max_client_conn")
    page.fill("#max_client_conn", "")
    expect(page.locator("#max_client_conn")).not_to_have_attribute("aria-invalid", "true")
    page.locator("summary").last.click()
    page.fill("#parameters", "timezone=Mars/Olympus")
    assert 'invalid value for parameter "TimeZone": "Mars/Olympus"' in wrong(page, "#parameters"), "PostgreSQL's own words"
    page.fill("#parameters", "")
    assert "it is there with another --database" in wrong(page, "#name")
    assert (page.input_value("#name"), page.url.rpartition("/")[2]) == ("shop", "create"), "nothing was sent, nothing is lost"

    page.goto("/instances/shop/parameters?add=search_path&add=work_mem")
    page.fill("#set-work_mem", "1kB")
    assert "a value from 64kB to" in wrong(page, "#set-work_mem")
    page.fill("#set-work_mem", "64kB")
    expect(page.locator("#set-work_mem")).not_to_have_attribute("aria-invalid", "true")
    page.fill("#set-search_path", "a,,b")
    assert "List syntax is invalid" in wrong(page, "#set-search_path")

    page.goto("/instances/shop/extensions/pooler")
    page.fill("#set-max_client_conn", "9999999")
    page.locator("[data-whole]:visible, .field:has(#set-max_client_conn) p.wrong:visible").first.wait_for()
    page.context.close()


def test_both_hops_are_proven_and_a_switch_to_tls_goes_by_stages(chromium: Chromium, served: Served, here: Place) -> None:
    page = enter(chromium, served)
    page.goto("/instances/shop/security")
    page.click("button[value=verify]")
    assert page.locator("#verdict").inner_text() == "proven"
    for way, evidence in (("pooled", "TLSv1.3"), ("second", "unix"), ("direct", "TLSv1.3")):
        told = page.locator(f"#way-{way}.good").inner_text()
        assert "proven" in told and evidence in told, way
    assert page.locator(".checks li.pass").count() > 60 and page.locator(".checks li.fail").count() == 0

    here.set({"ssl": "off"})
    with here.login("pooled") as old:  # with ssl=off there is no TLS at all
        page.reload()
        assert "Encryption is off" in page.inner_text("#switch") and "through the pooler: app@app_db" in page.inner_text("#plaintext")
        page.click("button[value=keep]")
        page.locator("#on").wait_for()
        assert "Longest wait of a new login" in page.inner_text(".cost") and "SSL required" in here.refused("pooled", sslmode="disable")
        assert old.execute("SELECT 1").fetchone() == (1,), "who was connected stays"
        page.goto("/instances/shop/security")
        assert "still open: 1" in page.inner_text("#switch")
        page.click("button[value=end]")
        assert "app@app_db" in page.inner_text("main"), "the question names whom it cuts off"
        page.click("button.danger")
        page.locator("#on").wait_for()
        with pytest.raises(psycopg.OperationalError):
            old.execute("SELECT 1")
    page.goto("/instances/shop/security")
    assert "Done: nobody new comes in without TLS" in page.inner_text("#switch")
    page.goto("/instances/shop/operations")
    page.locator("summary").first.click()
    ended = page.locator(".operation").first.locator(".cost div", has_text="Sessions ended by it").locator("dd")
    assert ended.inner_text() == "1"
    page.context.close()


def test_what_needs_a_restart_may_wait_and_both_values_are_told(chromium: Chromium, served: Served, here: Place) -> None:
    page, before = enter(chromium, served), here.postmaster()
    page.goto("/instances/shop/parameters?add=max_connections")
    page.fill("#set-max_connections", "120")
    page.locator("input[name=restart]").check()
    page.click("button[value=review]")
    assert "Nothing restarts now" in page.inner_text("main")
    page.click("button[value=save]")
    page.locator("#on").wait_for()
    page.goto("/instances/shop/parameters")
    assert "In force until the restart: 100; from then on: 120." in page.inner_text(".row:has(#set-max_connections)")
    assert here.postmaster() == before
    page.click("#act-restart")
    page.click("main button.primary")
    page.locator("#on").wait_for()
    assert "by a restart of PostgreSQL" in page.inner_text(".cost") and here.postmaster() != before
    page.context.close()


def test_the_catalogue_is_searched_and_leafed_through_in_both_languages(chromium: Chromium, served: Served) -> None:
    page = enter(chromium, served, locale="ru-RU")
    page.goto("/instances/shop/parameters")
    page.fill("#q", "checkpoint_timeout")
    found = page.locator(".found", has_text="checkpoint_timeout").first
    found.wait_for()
    assert "от 30s до 1d" in found.inner_text() and "5min" in found.inner_text()
    page.fill("#q", "")
    page.select_option("#category", "Write-Ahead Log / Checkpoints")
    page.locator(".found", has_text="max_wal_size").wait_for()
    assert page.locator(".found").count() == 6
    page.context.close()


def test_the_budget_moves_with_what_is_typed_and_counts_a_pool_for_each_user(chromium: Chromium, served: Served, here: Place) -> None:
    here.service.add_user("shop", "second", [DATABASE], None, asks("users add"))
    page = enter(chromium, served)
    page.goto("/instances/shop/extensions/pooler")
    words, bar = page.locator("#budget-words"), page.locator("#bar-servers")
    page.locator("summary", has_text="More settings").click()
    page.fill("#set-max_db_connections", "1000")
    page.fill("#set-default_pool_size", "10")
    expect(words).to_contain_text("10 → 20 / ")
    narrow = float(bar.get_attribute("width") or 0)
    page.fill("#set-default_pool_size", "500")
    expect(words).to_contain_text("500 → 1,000 / ")
    assert 0 < narrow < float(bar.get_attribute("width") or 0) and "over" in (bar.get_attribute("class") or "")
    page.fill("#set-max_db_connections", "30")
    expect(words).to_contain_text("500 → 30 / ")
    here.service.delete_user("shop", "second", asks("users delete"))
    page.context.close()


@pytest.mark.skipif(os.geteuid() != 0 or "HOWDAH_PGBOUNCER" in os.environ, reason="only root may hide a program, and none that is named")
def test_what_is_not_installed_is_told_with_its_package(chromium: Chromium) -> None:
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    hidden = ("unshare", "--mount", "sh", "-c", f'mount --bind /dev/null {program} && exec "$@"', "sh")
    with place() as bare:
        bare.create("bare", extensions={})
        without = begin(bare.home, under=hidden)
        try:
            without.await_health()
            page = enter(chromium, without)
            page.goto("/instances/bare/extensions")
            told = page.inner_text("#x-pooler")
            assert "not installed" in told and "apt-get install pgbouncer" in told
            assert page.locator("#x-pooler a").count() == 0 and "installed" in page.inner_text("#x-pg_stat_statements .badge")
            page.context.close()
        finally:
            without.end()


def test_a_library_is_looked_for_where_packages_put_it(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").mkdir()
    assert installed.library(tmp_path / "bin", "pg_stat_statements") is None
    (tmp_path / "lib" / "pg_stat_statements.so").touch()
    assert installed.library(tmp_path / "bin", "pg_stat_statements") is not None


def test_what_cannot_be_taken_back_is_asked_before(chromium: Chromium, served: Served, here: Place) -> None:
    people = compose.people(here.home)
    people.add("rita", "reader", None)
    page = enter(chromium, served)
    page.goto("/account")
    page.click("button[aria-label='Delete rita']")
    assert "the account rita is deleted" in page.inner_text("main") and any(each.name == "rita" for each in people.all())
    page.click("a.button")
    assert page.url.endswith("/account"), "no leads back"
    page.click("button[aria-label='Delete rita']")
    page.click("button.danger")
    page.wait_for_url("**/account")
    assert all(each.name != "rita" for each in people.all())
    people.register.close()
    page.goto("/instances/shop/users?edit=app")
    page.click("button[value=password]")
    assert "the present password of app is destroyed" in page.inner_text("main")
    page.context.close()


def test_monitoring_tells_the_newest_values_and_is_light(chromium: Chromium, served: Served) -> None:
    page = enter(chromium, served)
    assert whole_weight(page, "/instances/shop/monitoring") < 100_000
    memory = page.locator("section", has=page.locator("#c-memory"))
    expect(memory.locator(".legend strong")).to_contain_text("MB")
    memory.locator("summary").click()
    memory.locator("tbody tr").first.wait_for()
    assert "MB" in memory.locator("tbody tr td.num").first.inner_text()
    page.context.close()


def test_a_page_follows_and_keeps_what_is_being_typed(chromium: Chromium, served: Served, here: Place) -> None:
    page = enter(chromium, served)
    page.goto("/instances/shop/parameters?add=deadlock_timeout")
    page.locator("#set-deadlock_timeout").press_sequentially("3")
    here.service.stop("shop", asks())
    expect(page.locator("#head")).to_contain_text("stopped", timeout=60_000)
    expect(page.locator("#set-deadlock_timeout")).to_be_focused()
    page.keyboard.type("s")
    assert page.input_value("#set-deadlock_timeout") == "3s"
    page.locator("#act-start").focus()
    here.service.start("shop", asks())
    expect(page.locator("#head")).to_contain_text("running", timeout=60_000)
    expect(page.locator("#act-restart")).to_be_visible()
    assert page.input_value("#set-deadlock_timeout") == "3s"
    page.context.close()
