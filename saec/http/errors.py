"""How every error is told.

Invariant: whatever happens to a request, its answer is JSON of the documented shape; an error that
SAEC did not expect is told as no more than that.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from saec.errors import StoreUnavailableError
from saec.http.address import DOCS
from saec.http.problems import Code, Problem, unavailable

_Handler = Callable[[Request, Any], Awaitable[Response]]


async def answer(request: Request, error: Exception) -> tuple[Response, bool]:
    """What an error is answered, and whether it was expected at all."""
    kind = next(kind for kind in type(error).__mro__ if kind in HANDLERS)
    return await HANDLERS[kind](request, error), kind is not Exception


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


HANDLERS: dict[Any, _Handler] = {
    Problem: _problem,
    HTTPException: _http_error,
    StoreUnavailableError: _store_is_away,
    ClientDisconnect: _caller_is_gone,
    Exception: _unexpected,
}
"""By the kind of the error, as FastAPI takes them."""
