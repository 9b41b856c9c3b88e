"""What is stored of requests, and what is pending: the handlers that read.

Invariant: a key sees the requests of its own requester, and only with the scope `operate` those of
others; nothing of a message or of who is to receive it is told.
"""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import defaultdict
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from saec import accounts
from saec.contracts.events import Channel, Id, Lane, canonical_uuid
from saec.contracts.instants import instant_ms
from saec.http.asking import json_response
from saec.http.endpoint import Endpoint, in_time
from saec.http.keyring import Holder
from saec.http.problems import Code, Problem, invalid_parameter, unknown_request
from saec.http.trail import tell_read
from saec.keys import Scope
from saec.store import history
from saec.store.cancels import CancelRow, read_answers
from saec.store.engine import Connection
from saec.store.history import Account, PendingHour, State
from saec.store.listing import Cursor, Filters, Page, read_page

_READ = (Scope.READ, Scope.OPERATE)
_PENDING_KEPT_S = 5.0


def _instant(value: object) -> int:
    text = str(value)
    return instant_ms(int(text) if text.isascii() and text.isdecimal() else text)


def _cursor(value: object) -> Cursor:
    try:
        at_ms, _, request_id = urlsafe_b64decode(str(value)).decode("ascii").partition("/")
        cursor = Cursor(int(at_ms), canonical_uuid(request_id))
    except ValueError:
        raise ValueError("not a `next` of an earlier page") from None
    if not 0 <= cursor.accepted_at_ms < 1 << 63:
        raise ValueError("not a `next` of an earlier page")
    return cursor


_Instant = Annotated[int, PlainValidator(_instant)]


class Wanted(BaseModel):
    """The parameters of a list."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    requester: Id | None = None
    state: State | None = None
    channel: Channel | None = None
    lane: Lane | None = None
    campaign_id: Id | None = None
    due_from: _Instant | None = None
    due_to: _Instant | None = None
    limit: int = Field(default=50, ge=1, le=200)
    cursor: Annotated[Cursor, PlainValidator(_cursor)] | None = None

    @property
    def filters(self) -> Filters:
        """The filters among them."""
        return Filters(
            self.state, self.channel, self.lane, self.campaign_id, self.due_from, self.due_to
        )


async def one(endpoint: Endpoint, request: Request, request_id: str) -> Response:
    """GET /v1/requests/{id}."""
    async with endpoint.keyring.admitted(request, *_READ) as holder:
        try:
            wanted = canonical_uuid(request_id)
        except ValueError:
            raise invalid_parameter("request_id: not a canonical lowercase UUID") from None
        found = await endpoint.read(holder, _read_one, wanted)
        if found is None or not _may_see(holder, found[0].requester):
            raise unknown_request()
        account, cancels = found
        if account.requester != holder.requester:
            tell_read(holder, request, "request", str(wanted))
        told = accounts.as_dict(account) | {"cancels": [_cancel_as_dict(row) for row in cancels]}
        return json_response(told)


async def many(endpoint: Endpoint, request: Request) -> Response:
    """GET /v1/requests."""
    async with endpoint.keyring.admitted(request, *_READ) as holder:
        wanted = _wanted(request)
        requester = wanted.requester or holder.requester
        if not _may_see(holder, requester):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                Code.SCOPE_MISSING,
                "requester: another one's requests need the scope operate",
            )
        if requester != holder.requester:
            tell_read(holder, request, "requests")
        page = await endpoint.read(
            holder, read_page, requester, wanted.filters, wanted.limit, wanted.cursor
        )
        return json_response(_page_as_dict(page))


class Pending:
    """GET /v1/pending. Reads all that is pending, so what was read is kept for 5 s.

    Invariant: one reads for all who ask the same, and nobody waits for what others ask.
    """

    def __init__(self) -> None:
        self._kept: dict[str | None, tuple[float, list[PendingHour]]] = {}
        self._reading: defaultdict[str | None, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def handle(self, endpoint: Endpoint, request: Request) -> Response:
        """What is pending by hour, lane and channel: of everybody with `operate`."""
        async with endpoint.keyring.admitted(request, *_READ) as holder:
            everybody = Scope.OPERATE in holder.key.scopes
            if everybody:
                tell_read(holder, request, "pending")
            hours = await self._hours(endpoint, holder, None if everybody else holder.requester)
            return json_response({"pending": [accounts.hour_as_dict(hour) for hour in hours]})

    async def _hours(
        self, endpoint: Endpoint, holder: Holder, requester: str | None
    ) -> list[PendingHour]:
        async with in_time(), self._reading[requester]:
            now_s = asyncio.get_running_loop().time()
            for key in [key for key, (at_s, _) in self._kept.items() if now_s > at_s]:
                del self._kept[key]
            if requester not in self._kept:
                hours = await endpoint.read(holder, history.read_pending, requester)
                self._kept[requester] = (now_s + _PENDING_KEPT_S, hours)
            return self._kept[requester][1]


def _read_one(connection: Connection, request_id: UUID) -> tuple[Account, list[CancelRow]] | None:
    account = history.read_account(connection, request_id)
    return None if account is None else (account, read_answers(connection, [request_id]))


def _wanted(request: Request) -> Wanted:
    """The parameters. The error names those of ours that are wrong, never what was given."""
    if len(request.query_params.multi_items()) > len(request.query_params):
        raise invalid_parameter("a parameter is given twice")
    try:
        return Wanted.model_validate(dict(request.query_params))
    except ValidationError as invalid:
        wrong = [(str(found["loc"][-1]), found["msg"]) for found in invalid.errors()]
    known = Wanted.model_fields
    told = [f"{name}: {why}" if name in known else "an unknown parameter" for name, why in wrong]
    raise invalid_parameter("; ".join(dict.fromkeys(told)))


def _may_see(holder: Holder, requester: str) -> bool:
    return requester == holder.requester or Scope.OPERATE in holder.key.scopes


def _cancel_as_dict(row: CancelRow) -> dict[str, Any]:
    return {
        "status": row.status,
        "recipients_stopped": row.recipients_stopped,
        "messages_stopped": row.messages_stopped,
    }


def _page_as_dict(page: Page) -> dict[str, Any]:
    return {
        "requests": [accounts.as_dict(account) for account in page.accounts],
        "next": page.next and _as_text(page.next),
    }


def _as_text(cursor: Cursor) -> str:
    return urlsafe_b64encode(f"{cursor.accepted_at_ms}/{cursor.request_id}".encode()).decode()
