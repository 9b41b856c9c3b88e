"""The routes.

Invariant: what is not a route here is answered by a problem.
"""

import re
from base64 import b64encode
from hashlib import sha256

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from saec.http import asking, contract, reading
from saec.http.address import DOCS
from saec.http.asking import json_response
from saec.http.bodies import JSON, media_type
from saec.http.boundary import Boundary
from saec.http.bulk import schedule_many
from saec.http.endpoint import Endpoint
from saec.http.errors import HANDLERS, answer
from saec.http.reading import Pending

_SCRIPTS = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def make_app(endpoint: Endpoint) -> Boundary:
    """The application, as uvicorn runs it."""
    app = FastAPIOffline(
        docs_url=DOCS,
        redoc_url=None,
        title="SAEC",
        redirect_slashes=False,
        exception_handlers=HANDLERS,
    )
    for route in app.routes:
        if isinstance(route, Mount):
            route.app = _whole(route.app)
    app.openapi = contract.document  # type: ignore[method-assign]
    changes = _changes(endpoint)
    app.router.routes += changes
    _reads(app, endpoint)
    return Boundary(_Front(_Guarded(app), changes))


class _Front:
    """Takes some routes past FastAPI's layers, which have nothing to do for them.

    They would take a tenth of the time of a POST.
    """

    def __init__(self, app: ASGIApp, routes: list[Route]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                await _handle(route, scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _handle(route: Route, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await route.handle(scope, receive, send)
    except Exception as error:
        response, is_expected = await answer(Request(scope, receive), error)
        await response(scope, receive, send)
        if not is_expected:
            raise


def _changes(endpoint: Endpoint) -> list[Route]:
    """What publishes. FastAPI's own routes would validate what SAEC validates itself."""

    async def schedule(request: Request) -> Response:
        if media_type(request) == JSON:
            return await asking.schedule(endpoint, request)
        return await schedule_many(endpoint, request)

    async def cancel(request: Request) -> Response:
        return await asking.cancel(endpoint, request, request.path_params["request_id"])

    return [
        Route("/v1/requests", schedule, methods=["POST"]),
        Route("/v1/requests/{request_id}/cancel", cancel, methods=["POST"]),
    ]


def _reads(app: FastAPI, endpoint: Endpoint) -> None:
    pending = Pending()

    @app.get("/v1/requests")
    async def many(request: Request) -> Response:
        return await reading.many(endpoint, request)

    @app.get("/v1/requests/{request_id}")
    async def one(request: Request, request_id: str) -> Response:
        return await reading.one(endpoint, request, request_id)

    @app.get("/v1/pending")
    async def pending_hours(request: Request) -> Response:
        return await pending.handle(endpoint, request)

    @app.get("/v1/health")
    async def health() -> Response:
        return json_response({"status": "ok"})


class _Guarded:
    """The page of the docs, which runs its own scripts and no others, and sends nothing elsewhere.

    Its scripts stand in it, so each is allowed by its hash.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(DOCS):
            await self._app(scope, receive, send)
            return
        begun: list[Message] = []

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append(message)
                return
            if begun:
                start = begun.pop()
                policy = (b"content-security-policy", _policy(message.get("body", b"")))
                await send({**start, "headers": [*start["headers"], policy]})
            await send(message)

        await self._app(scope, receive, sending)


def _policy(page: bytes) -> bytes:
    """What the page may do."""
    digests = [b64encode(sha256(script).digest()).decode() for script in _SCRIPTS.findall(page)]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in digests)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ).encode()


def _whole(app: ASGIApp) -> ASGIApp:
    """Files are sent whole: what Starlette answers to a bad `Range` is no problem of ours."""

    async def without_range(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await app({**scope, "headers": headers}, receive, send)

    return without_range
