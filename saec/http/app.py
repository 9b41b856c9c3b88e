"""The routes, and how every error is told.

Invariant: whatever happens to a request, its answer is JSON of the documented shape, and an error
that SAEC did not expect is logged without a word of what was sent.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from saec.errors import StoreUnavailableError
from saec.http import asking, contract, reading
from saec.http.address import DOCS
from saec.http.asking import json_response
from saec.http.bodies import JSON, media_type
from saec.http.boundary import Boundary
from saec.http.bulk import schedule_many
from saec.http.endpoint import Endpoint
from saec.http.problems import Code, Problem, unavailable
from saec.http.reading import Pending

_log = structlog.get_logger("saec.http")
_Handler = Callable[[Request, Any], Awaitable[Response]]


def make_app(endpoint: Endpoint) -> Boundary:
    """The application, as uvicorn runs it."""
    app = FastAPIOffline(
        docs_url=DOCS,
        redoc_url=None,
        title="SAEC",
        redirect_slashes=False,
        exception_handlers=_HANDLERS,
    )
    for route in app.routes:
        if isinstance(route, Mount):
            route.app = _whole(route.app)
    app.openapi = contract.document  # type: ignore[method-assign]
    _route(app, endpoint)
    return Boundary(app)


def _route(app: FastAPI, endpoint: Endpoint) -> None:
    pending = Pending()

    async def schedule(request: Request) -> Response:
        if media_type(request) == JSON:
            return await asking.schedule(endpoint, request)
        return await schedule_many(endpoint, request)

    async def cancel(request: Request) -> Response:
        return await asking.cancel(endpoint, request, request.path_params["request_id"])

    # As Starlette's own routes, and the first: FastAPI would have nothing to do for them, and takes
    # its time.
    app.router.routes[:0] = [
        Route("/v1/requests", schedule, methods=["POST"]),
        Route("/v1/requests/{request_id}/cancel", cancel, methods=["POST"]),
    ]

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


async def _problem(_: Request, problem: Problem) -> Response:
    return problem.response


async def _http_error(request: Request, error: HTTPException) -> Response:
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allow = {"Allow": ", ".join(sorted(_methods(request)))}
        return Problem(405, Code.METHOD_NOT_ALLOWED, "see Allow", allow).response
    detail = f"see {DOCS} for what there is"
    return Problem(HTTPStatus.NOT_FOUND, Code.UNKNOWN_PATH, detail).response


def _methods(request: Request) -> set[str]:
    """The methods of all routes that have this path."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    here = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return {method for route in here for method in route.methods or ()}


async def _store_is_away(_: Request, _error: StoreUnavailableError) -> Response:
    detail = "PostgreSQL does not answer, or not in time; what is stored cannot be read now"
    return unavailable(Code.POSTGRESQL_UNAVAILABLE, detail).response


async def _caller_is_gone(_: Request, _error: ClientDisconnect) -> Response:
    return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody reads it


async def _unexpected(_: Request, _error: Exception) -> Response:
    detail = "the log of the endpoint says more; whether anything was published is not known"
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, Code.INTERNAL_ERROR, detail).response


_HANDLERS: dict[Any, _Handler] = {
    Problem: _problem,
    HTTPException: _http_error,
    StoreUnavailableError: _store_is_away,
    ClientDisconnect: _caller_is_gone,
    Exception: _unexpected,
}
