"""The ASGI edge: finds the page for an address, sees who asks and whether they may, and answers. The only asynchronous code.

Every change is checked here, once for all: the origin of the request, the token of the form, the role; and every change is written into the
audit log, with what came of it. An error that nobody foresaw is logged with its traceback and told as one sentence.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from howdah.errors import Conflict, Failed, Invalid, NotFound, Refusal, Unavailable, Unsupported
from howdah.language import LANGUAGES
from howdah.phrase import say
from howdah.secret import Secret
from howdah.service.people import Visitor
from howdah.web import metrics, urls
from howdah.web.desk import Desk
from howdah.web.pages import ROUTES, account, failed
from howdah.web.rendering import Rendering
from howdah.web.visit import Answer, Form, Given, NotAgreed, Page, Sent, Shown, Visit
from howdah.web.wording import Wording

log = logging.getLogger("howdah.web")

COOKIE = "howdah"
LONGEST_BODY = 262_144
_MOST_FIELDS = 500
_WORKERS = 8
_STATIC = Path(__file__).parent / "static"
_KEEP = "public, max-age=31536000, immutable"
_STATUS: Mapping[type[Refusal], int] = {Invalid: 422, NotFound: 404, Conflict: 409, Unsupported: 403, Unavailable: 503, Failed: 500}
HEADERS: Mapping[str, str] = {
    # Nothing from elsewhere, and nothing inline: a name or value that slipped through unescaped would still do nothing.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers would send a form's Origin as null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class Console:
    """The application: one desk, one way to draw pages, some threads that do the work."""

    def __init__(self, desk: Desk, *, secure: bool) -> None:
        self.desk = desk
        self.secure = secure
        self._draw = Rendering()
        self._threads = ThreadPoolExecutor(_WORKERS, "web")
        # The prefix binds a cookie to this very host, and to TLS (RFC 6265bis, 4.1.3.2)
        self.cookie = f"__Host-{COOKIE}" if secure else COOKIE

    def application(self) -> Starlette:
        """Return what uvicorn serves."""
        pages = [Route(page.path, self._endpoint(page), methods=page.methods) for page in ROUTES]
        return Starlette(
            routes=[
                Route("/", self._home),
                Route("/healthz", self._health),
                Route("/metrics", self._metrics),
                # Compressed, for it holds nothing of anybody; pages are not: what is typed stands beside a form's token (BREACH)
                Mount("/static", GZipMiddleware(_Static(directory=_STATIC), minimum_size=1000)),
                *pages,
                Route("/{rest:path}", self._endpoint(Page("", get=failed.nothing_here, need=None))),
            ]
        )

    async def _home(self, request: Request) -> Response:
        return RedirectResponse(urls.HOME, 303)

    async def _health(self, request: Request) -> Response:
        """Tell whether the loop makes its rounds."""
        late = time.monotonic() - self.desk.rounds.pulse.last_round
        fit = late < 15.0
        return PlainTextResponse("ok\n" if fit else f"no round for {late:.0f} s\n", 200 if fit else 503, {"Cache-Control": "no-store"})

    async def _metrics(self, request: Request) -> Response:
        """Tell Prometheus: to anybody on this machine, else to whoever carries a token."""
        told: Response = await self._in_thread(self._metrics_now, _from_here(request), request.headers.get("authorization", ""))
        return told

    def _metrics_now(self, here: bool, authorization: str) -> Response:
        kind, _, carried = authorization.partition(" ")
        known = kind.lower() == "bearer" and self.desk.people.visitor(Secret(carried.strip()), "token") is not None
        if not known and not here:
            return PlainTextResponse("a token is needed\n", 401, {"WWW-Authenticate": "Bearer"})
        return PlainTextResponse(metrics.text(self.desk), media_type=metrics.KIND)

    async def _in_thread(self, work: Any, *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)

    # ---------------------------------------------------------------------------------------- a page

    def _endpoint(self, page: Page) -> Any:
        async def answer(request: Request) -> Response:
            body = b""
            async for chunk in request.stream():
                body += chunk
                if len(body) > LONGEST_BODY:
                    return PlainTextResponse("too long\n", 413)
            response: Response = await self._in_thread(self._answer, page, request, body)
            return response

        return answer

    def _answer(self, page: Page, request: Request, body: bytes) -> Response:
        visit = self._visit(request, body)
        try:
            response = self._respond(visit, self._page(visit, page, request))
        except Refusal as refusal:
            response = self._respond(visit, failed.refused(visit, refusal, _STATUS.get(type(refusal), 500)))
        except Exception:  # the outermost door of the console: logged with its traceback, told in one sentence
            log.exception("%s %s", request.method, request.url.path)
            ours = Failed("internal", say("cannot show this page: an error of howdah itself"), say("its log has the traceback"))
            response = self._respond(visit, failed.refused(visit, ours, 500))
        return response

    def _page(self, visit: Visit, page: Page, request: Request) -> Answer:
        if page.need is not None and visit.visitor is None:
            return Sent(f"{urls.SIGN_IN}?to={quote(request.url.path)}" if request.method == "GET" else urls.SIGN_IN)
        if request.method == "GET":
            visit.require(page.need or "reader")
            assert page.get is not None
            return page.get(visit)
        self._check_origin(request)
        if page.need is not None:
            self._check_token(visit)
        assert page.post is not None
        return self._audited(visit, page)

    def _audited(self, visit: Visit, page: Page) -> Answer:
        """Do what a form asks for, and write down who did what, with which outcome. Signing in writes its own lines."""
        assert page.post is not None
        try:
            if page.need is not None:
                visit.require(page.change)
            done = page.post(visit)
        except NotAgreed as asked:
            return failed.unexpected(visit, asked.question)
        except Refusal as refusal:
            if page.need is not None:
                self._note_refusal(visit, page, refusal)
            raise
        if isinstance(done, Shown) and done.refusal is not None and page.need is not None:
            self._note_refusal(visit, page, done.refusal)
        if isinstance(done, Sent) and done.verb:
            self.desk.people.note(visit.account, visit.address, done.verb, done.about or visit.name, "done", done.words)
        return done

    def _note_refusal(self, visit: Visit, page: Page, refusal: Refusal) -> None:
        verb = visit.params.get("verb", page.verb)
        self.desk.people.note(visit.account, visit.address, verb, visit.name, refusal.code, str(refusal.message))

    def _check_origin(self, request: Request) -> None:
        """Refuse a form that another site has sent: browsers tell the origin of every POST."""
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        own = origin is None or origin.partition("://")[2] == request.headers.get("host")
        if not own or site not in (None, "same-origin", "none"):
            raise Unsupported(
                "wrong_origin", say("cannot take this: it was sent by another site"), say("open the console's own page and try again")
            )

    def _check_token(self, visit: Visit) -> None:
        if not hmac.compare_digest(visit.form.get("token").encode(), visit.csrf.encode()):
            raise Unsupported(
                "stale_form", say("cannot take this form: it belongs to another session"), say("go back, reload the page and try again")
            )

    # ---------------------------------------------------------------------------------------- who asks

    def _visit(self, request: Request, body: bytes) -> Visit:
        carried = request.cookies.get(self.cookie, "")
        quiet = "hx-request" in request.headers and request.method == "GET"  # a page that follows by itself keeps no session awake
        visitor = self.desk.people.visitor(Secret(carried), quiet=quiet) if carried else None
        return Visit(
            desk=self.desk,
            path=request.url.path,
            params={key: str(value) for key, value in request.path_params.items()},
            query=_form(request.url.query.encode()),
            form=_form(body),
            say=Wording(_language(request, visitor)),
            address=_address(request),
            program=request.headers.get("user-agent", "")[:200],
            theme=visitor.account.theme if visitor is not None else "",
            visitor=visitor,
            csrf=_token(visitor),
            secure=self.secure,
        )

    def _respond(self, visit: Visit, answer: Answer) -> Response:
        response: Response
        if isinstance(answer, Sent):
            response = RedirectResponse(answer.url, 303)
            self._set_cookie(response, answer.cookie)
            if answer.language in LANGUAGES:
                response.set_cookie(account.LANGUAGE_COOKIE, answer.language, max_age=31_536_000, httponly=True, samesite="lax")
        elif isinstance(answer, Given):
            response = Response(answer.content, media_type=answer.kind)
            if answer.filename:
                response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(answer.filename)}"
        else:
            response = Response(self._draw(visit, answer), answer.status, media_type="text/html")
        response.headers.update(HEADERS)
        if self.secure:
            response.headers["Strict-Transport-Security"] = "max-age=31536000"
        return response

    def _set_cookie(self, response: Response, carried: str | None) -> None:
        if carried is not None:
            response.set_cookie(
                self.cookie, carried, max_age=None if carried else 0, path="/", secure=self.secure, httponly=True, samesite="lax"
            )


class _Static(StaticFiles):
    """Files whose address changes with each release."""

    def file_response(self, *given: Any, **named: Any) -> Response:
        response = super().file_response(*given, **named)
        response.headers["Cache-Control"] = _KEEP
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def _form(body: bytes) -> Form:
    """Read a form or a query as browsers write it (application/x-www-form-urlencoded)."""
    try:
        pairs = parse_qsl(body.decode("ascii", "replace"), keep_blank_values=True, errors="replace", max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise Invalid("invalid_form", say("cannot read this form: it has too many fields")) from error
    return Form(tuple((key, value.replace("\r\n", "\n")) for key, value in pairs))


def _token(visitor: Visitor | None) -> str:
    if visitor is None:
        return ""
    return hmac.new(visitor.carried.reveal().encode(), b"form", hashlib.sha256).hexdigest()[:40]


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _from_here(request: Request) -> bool:
    """Tell whether somebody on this machine asks: not through a proxy here, and not a page elsewhere whose name leads to this machine."""
    host = request.url.hostname or ""
    passed_on = any(name in request.headers for name in ("forwarded", "x-forwarded-for", "x-real-ip", "via"))
    return _loopback(_address(request)) and (host == "localhost" or _loopback(host)) and not passed_on


def _loopback(address: str) -> bool:
    return address in ("::1", "::ffff:127.0.0.1") or re.fullmatch(r"127(\.\d+){3}", address) is not None


def _language(request: Request, visitor: Visitor | None) -> str:
    if visitor is not None and visitor.account.language:
        return visitor.account.language
    if (chosen := request.cookies.get(account.LANGUAGE_COOKIE, "")) in LANGUAGES:
        return chosen
    asked = (each.split(";")[0].strip()[:2].lower() for each in request.headers.get("accept-language", "").split(","))
    return next((each for each in asked if each in LANGUAGES), "en")
