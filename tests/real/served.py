"""`howdah serve` as a process of a test's own: started, asked by HTTP as a program does or in a real browser, ended by pid."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, sync_playwright
from tests.real.servers import free_port

ADMIN, PASSWORD = "admin", "correct horse battery"
READY_SECONDS, END_SECONDS = 60.0, 60.0


@dataclass
class Browser:
    """A client with a cookie, for pages and forms; scripts do not run."""

    port: int
    cookie: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def ask(self, path: str, form: Mapping[str, str] | list[tuple[str, str]] | None = None, **headers: str) -> tuple[int, str, str]:
        """Return status, text, and where it leads."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        own = {"Host": f"127.0.0.1:{self.port}", **self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.cookie:
            own["Cookie"] = self.cookie
        body = None
        if form is not None:
            body = urllib.parse.urlencode(form)
            own = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://127.0.0.1:{self.port}", **own}
        try:
            connection.request("GET" if form is None else "POST", path, body, own)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie" and value.startswith(("howdah=", "__Host-howdah=")):
                self.cookie = value.split(";")[0]
        return answer.status, text, answer.getheader("location") or ""

    def sign_in(self, name: str = ADMIN, password: str = PASSWORD) -> int:
        """Sign in; return the status."""
        return self.ask("/sign-in", {"name": name, "password": password, "to": "/instances"})[0]

    def token(self, path: str = "/account") -> str:
        """Return the token that the forms of this session carry."""
        found = re.search(r'name="token" value="(\w+)"', self.ask(path)[1])
        assert found is not None
        return found[1]

    def send(self, path: str, form: Mapping[str, str] | None = None, **named: str) -> tuple[int, str, str]:
        """Send a form with its token."""
        return self.ask(path, {"token": self.token(), **(form or {}), **named})


@dataclass
class Served:
    """A running `serve`."""

    process: subprocess.Popen[bytes]
    port: int
    home: Path
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def browser(self) -> Browser:
        """Return somebody who has signed in as admin."""
        made = Browser(self.port)
        assert made.sign_in() == 303
        return made

    def healthy(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return Browser(self.port).ask("/healthz")[0] == 200
        return False

    def await_health(self) -> None:
        wait(lambda: self.healthy() or self.process.poll() is not None, READY_SECONDS, self.said)
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(END_SECONDS)


def wait(holds: Callable[[], object], seconds: float = 30.0, else_say: Callable[[], str] = lambda: "it did not come about") -> None:
    """Ask until it is so; fail after a time that no working machine needs."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, else_say()
        time.sleep(0.01)


def begin(home: Path, port: int = 0, *options: str, host: str = "127.0.0.1", under: Sequence[str] = (), **settings: str) -> Served:
    """Start it on a home; `under` is what executes it."""
    port = port or free_port()
    log = home / f"serve-{port}.log"
    own = {"HOWDAH_HOME": str(home), "HOWDAH_ADMIN_PASSWORD": PASSWORD, "HOWDAH_LANG": "en"}
    environment = {"PATH": os.environ["PATH"], **own, "HOWDAH_SPARES": "0", **settings}  # nobody makes them behind a test's back
    environment |= {name: os.environ[name] for name in ("PYTHONPATH", "HOWDAH_PGBOUNCER", "HOWDAH_POSTGRES_BINDIRS") if name in os.environ}
    with log.open("ab") as into:
        command = [*under, sys.executable, "-P", "-m", "howdah", "serve", "--listen", f"{host}:{port}", *options]
        started = subprocess.Popen(command, stdout=into, stderr=into, stdin=subprocess.DEVNULL, env=environment, start_new_session=True)
    return Served(started, port, home, log)


@contextmanager
def serving(home: Path, *options: str, **settings: str) -> Iterator[Served]:
    """Serve a home for a while."""
    made = begin(home, 0, *options, **settings)
    try:
        made.await_health()
        yield made
    finally:
        made.end()


# --- in a real browser --------------------------------------------------------------------------------------------------------------

# every page that can be asked for, of an instance `shop`
PAGES = {
    "instances": "/instances",
    "create": "/create",
    "overview": "/instances/shop",
    "parameters": "/instances/shop/parameters?q=work_mem&add=work_mem",
    "extensions": "/instances/shop/extensions",
    "pooler": "/instances/shop/extensions/pooler",
    "databases": "/instances/shop/databases",
    "users": "/instances/shop/users?edit=app",
    "connect": "/instances/shop/connect",
    "security": "/instances/shop/security",
    "monitoring": "/instances/shop/monitoring",
    "operations": "/instances/shop/operations",
    "logs": "/instances/shop/logs",
    "statements": "/instances/shop/extensions/pg_stat_statements",
    "delete": "/instances/shop/delete",
    "restart": "/instances/shop/restart",
    "account": "/account",
    "audit": "/audit",
}


@contextmanager
def chromium_here() -> Iterator[Chromium]:
    """Hold a browser, where the system has one."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playing:
        opened = playing.chromium.launch(executable_path=program, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield opened
        opened.close()


def enter(chromium: Chromium, served: Served, **options: Any) -> Page:
    """Sign in, in a browser of its own, and fail on anything that a page asks for elsewhere or complains of."""
    context = chromium.new_context(base_url=served.url, **{"locale": "en-US", "viewport": {"width": 1440, "height": 900}, **options})
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.on("request", lambda request: _own(request.url, served))
    page.on("pageerror", lambda error: pytest.fail(f"a script failed: {error}"))
    page.goto("/")
    page.fill("#name", ADMIN)
    page.fill("#password", PASSWORD)
    page.click("button.primary")
    page.wait_for_url("**/instances")
    return page


def finished(page: Page) -> None:
    """Wait until the operation that is shown is over; without scripts the page reloads itself."""
    page.locator("#on").wait_for()


def _own(url: str, served: Served) -> None:
    assert url.startswith((served.url, "data:")), url


def whole_weight(page: Page, path: str) -> int:
    """Return the bytes that come over the wire for a page and for all that it asks for, by a browser that has nothing of it yet."""
    page.context.new_cdp_session(page).send("Network.clearBrowserCache")
    page.goto(path, wait_until="networkidle")
    return int(
        page.evaluate(
            "() => [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
            ".reduce((sum, entry) => sum + entry.transferSize, 0)"
        )
    )
