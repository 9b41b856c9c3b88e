"""The routes.

Invariant: what is not a route here is answered by a problem.
"""

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from saec.http import asking, contract, reading
from saec.http.address import DOCS
from saec.http.asking import json_response
from saec.http.bodies import JSON, media_type
from saec.http.boundary import Boundary
from saec.http.bulk import schedule_many
from saec.http.endpoint import Endpoint
from saec.http.errors import HANDLERS, answer
from saec.http.reading import Pending


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
    return Boundary(_Front(app, changes))


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


def _whole(app: ASGIApp) -> ASGIApp:
    """Files are sent whole: what Starlette answers to a bad `Range` is no problem of ours."""

    async def without_range(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await app({**scope, "headers": headers}, receive, send)

    return without_range
