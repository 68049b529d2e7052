"""`serve` as a process: the loop, the measuring and the console in one; it ends in good order, and leaves every server running."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from howdah import compose
from howdah.errors import Conflict, Failed, Invalid
from howdah.phrase import say
from howdah.service.sampling import Sampler, Samples
from howdah.web.app import Console
from howdah.web.desk import Desk
from howdah.web.presented import LOOK_SECONDS, Presented

log = logging.getLogger("howdah.serve")

_FILES = 16_384  # a loop over many instances holds some descriptors for each; PostgreSQL and the keeper set limits of their own
_LAST_SECONDS = 5
_BACKLOG = 256
_LOOK_TICKS = LOOK_SECONDS * 10  # uvicorn's main loop ticks every 0.1 s


@dataclass(frozen=True)
class Listen:
    """Where the console is reached, and with which certificate; None for plain HTTP."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None
    own: bool = False  # by Howdah's own authority, which is asked for another in time

    @property
    def url(self) -> str:
        """Return the address for a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate is not None else 'http'}://{host}:{self.port}"


class _Server(uvicorn.Server):
    """uvicorn without its own way with signals: after SIGTERM it would end by that signal, as if it had failed. It follows its
    certificate.
    """

    presented: Presented | None = None
    look_at_once = False

    async def on_tick(self, counter: int) -> bool:
        if self.presented is not None and (self.look_at_once or counter % _LOOK_TICKS == _LOOK_TICKS - 1):
            self.look_at_once = False
            pair = await asyncio.to_thread(self.presented.changed)
            if pair is not None:
                self.presented.take(pair)
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(home: Path, listen: Listen, *, trash_seconds: float, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT; Conflict where the port is taken, Failed when the loop has ended by itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(_FILES, hard)), hard))
    bound = _bound(listen)
    rounds, samples = compose.rounds(home, trash_seconds=trash_seconds), Samples()
    sampler = Sampler(lambda: compose.service(home, trash_seconds=trash_seconds), samples, lambda: compose.shelf(home))
    desk = Desk(home, rounds, samples, trash_seconds=trash_seconds)
    server = _server(Console(desk, secure=listen.certificate is not None), home, listen)
    broken: list[BaseException] = []

    def loop() -> None:
        try:
            rounds.run()
        except BaseException as error:  # whatever it is, a console without its loop must not go on as if all were well
            log.exception("the loop has ended")
            broken.append(error)
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    signal.signal(signal.SIGHUP, lambda *_: setattr(server, "look_at_once", True))
    threads = [threading.Thread(target=loop, name="rounds"), threading.Thread(target=sampler.run, name="sampler", daemon=True)]
    for thread in threads:
        thread.start()
    try:
        ready()
        server.run(sockets=[bound])
    finally:
        sampler.stop()
        rounds.stop()
        threads[0].join()
        threads[1].join(_LAST_SECONDS)
        bound.close()
    if broken:
        raise Failed("loop_ended", say("cannot go on: the loop has ended ({name})", name=type(broken[0]).__name__))


def _server(console: Console, home: Path, listen: Listen) -> _Server:
    config = uvicorn.Config(
        console.application(),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=_LAST_SECONDS,
        ssl_certfile=listen.certificate,
        ssl_keyfile=listen.key,
        proxy_headers=False,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:
        raise Invalid("bad_certificate", say("cannot use {path}: {reason}", path=listen.certificate or "", reason=error)) from error
    server = _Server(config)
    if config.ssl is not None and listen.certificate is not None and listen.key is not None:
        given = (listen.certificate, listen.key)
        server.presented = Presented(config.ssl, (lambda: compose.console_pair(home, listen.host)) if listen.own else (lambda: given))
    return server


def _bound(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((listen.host, listen.port))
        bound.listen(_BACKLOG)
        bound.set_inheritable(False)
    except OSError as error:
        bound.close()
        place = f"{listen.host}:{listen.port}"
        hint = say("choose another: howdah serve --listen HOST:PORT")
        raise Conflict(
            "listen_taken", say("cannot listen on {place}: {reason}", place=place, reason=error.strerror or error), hint
        ) from error
    return bound
