"""Who may use the studio: pages of this address only, with the token of the start or the password.

A page of another site that the browser has open can send requests to this machine, too, under a
name that it points here. So requests must name this address (`hosts_of`), those of scripts must
come from its own page (Origin), and all must bring a cookie, which a browser gives to no other site
(SameSite). The cookie comes with the token in the address that `aa studio` prints, or the password.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from animateanywhere.studio.attempts import Attempts
from animateanywhere.studio.form import TooLarge, read_body

LOGIN = "/login"
FORM = 4096  # bytes of a login at most
OPEN = ("/static/",)  # below these, nothing is anybody's
# Nothing from elsewhere is loaded, and nobody may show the studio inside of another page
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


def is_local(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def hosts_of(host: str) -> list[str]:
    """The names under which a server that listens on `host` is asked for."""
    names = {"127.0.0.1", "localhost", host}
    if not is_local(host):
        import psutil

        found = (one.address for some in psutil.net_if_addrs().values() for one in some
                 if one.family == socket.AF_INET)  # fmt: skip
        names |= {socket.gethostname(), socket.getfqdn(), *found}
    return sorted({name.lower() for name in names} - {"0.0.0.0", ""})  # as browsers send them


@dataclass
class Keys:
    """The secrets of a start of the studio."""

    cookie: str  # its name: browsers do not keep ports apart
    token: str | None = field(default_factory=lambda: secrets.token_urlsafe(24))
    password: str | None = None
    session: str = field(default_factory=lambda: secrets.token_urlsafe(24))


class Access:
    """The application behind the checks of this module."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self.app, self.keys = app, keys
        self.attempts = Attempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        request = Request(scope, receive)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = _foreign(request) or await self._unknown(request)
        await (answer or self.app)(scope, receive, sending)

    async def _unknown(self, request: Request) -> Response | None:
        """The answer to somebody who is not known yet; None for those who are."""
        path, keys = request.url.path, self.keys
        if path == LOGIN and keys.password is not None and request.method == "POST":
            return await self._login(request, keys.password)
        if _same(request.cookies.get(keys.cookie), keys.session) or path.startswith(OPEN):
            return None
        if path == "/" and _same(request.query_params.get("token"), keys.token):
            return self._welcome()
        if path in ("/", LOGIN):
            return _page(keys.password is not None)
        return Response("not allowed: open the address that aa studio printed", 403)

    async def _login(self, request: Request, password: str) -> Response:
        try:
            body = await read_body(request, FORM)
        except TooLarge:
            return Response("too long", 413)
        except ClientDisconnect:
            return Response("the request broke off", 400)  # to nobody
        given = parse_qs(body.decode(errors="replace")).get("password", [""])[0]
        address = request.client.host if request.client else ""
        # Nothing is awaited from here on, so requests at the same time are one after the other
        if wait := self.attempts.seconds_left(address):
            return _page(True, wait=wait)
        if _same(given, password):
            self.attempts.forget(address)
            return self._welcome()
        self.attempts.failed(address)
        return _page(True, wrong=True)

    def _welcome(self) -> Response:
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self.keys.cookie, self.keys.session, httponly=True, samesite="strict")
        return answer


def _foreign(request: HTTPConnection) -> Response | None:
    """The refusal of a request that another site's page sent."""
    origin = request.headers.get("origin")
    reads = request.scope["method"] in ("GET", "HEAD")
    try:
        own = origin is not None and urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # no address, such as http://[
        own = False
    if own or (reads and origin is None):
        return None
    return Response("not allowed: this request is not of the studio's own page", 403)


def _same(given: str | None, secret: str | None) -> bool:
    if given is None or secret is None:
        return False
    return secrets.compare_digest(given.encode(), secret.encode())


def _page(password: bool, wrong: bool = False, wait: int = 0) -> Response:
    """What a stranger sees: the form for the password, or how to come in. wait: seconds until a
    password is looked at again."""
    said = "This is not the password." if wrong else ""
    if wait:
        said = f"After wrong passwords, the next one is looked at in {wait} s: try again then."
    inside = (
        f"""<form method="post" action="{LOGIN}"><label for="password">Password</label>
        <input id="password" name="password" type="password" autofocus required
        autocomplete="current-password"{' aria-describedby="said"' if said else ""}>
        {f'<p id="said" role="alert">{said}</p>' if said else ""}
        <button>Open the studio</button></form>"""
        if password
        else """<p>Open the address that <code>aa studio</code> printed in its terminal: it has a
        token in it, and a new one after each start.</p>"""
    )
    return HTMLResponse(
        f"""<!doctype html><html lang="en"><meta charset="utf-8">
        <meta name="viewport" content="width=device-width"><title>AnimateAnywhere studio</title>
        <link rel="stylesheet" href="/static/style.css">
        <main class="door"><h1>AnimateAnywhere studio</h1>{inside}</main></html>""",
        429 if wait else 403,
        {"retry-after": str(wait)} if wait else None,
    )
