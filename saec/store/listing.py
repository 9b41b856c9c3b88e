"""A requester's requests, newest first, a page at a time.

Invariant: whoever follows `Page.next` to None gets each request that was stored before the first
page, and fits when it is looked at, exactly once; one stored meanwhile comes once or not at all.
Pages read an index in its order and not far, so they cost the same however many requests there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from sqlalchemy import Connection

from saec.contracts.events import Channel, Lane
from saec.store.engine import count, rows
from saec.store.history import Account, State, read_accounts

LOOKED_AT = 1_000
"""How many requests a page looks at, at most."""
_ACCOUNTS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Filters:
    """Which requests are wanted: those that all that is given holds for.

    Due from `due_from_ms` on, and before `due_to_ms`.
    """

    state: State | None = None
    channel: Channel | None = None
    lane: Lane | None = None
    campaign_id: str | None = None
    due_from_ms: int | None = None
    due_to_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last request that was looked at: the next page begins behind it."""

    accepted_at_ms: int
    request_id: UUID


@dataclass(frozen=True, slots=True)
class Page:
    """Accounts, newest first; `next` is None when nothing older is stored.

    A page looks at `LOOKED_AT` requests at most: when few of them fit, it holds few accounts or
    none, and yet has a `next`.
    """

    accounts: tuple[Account, ...]
    next: Cursor | None


# Newer than all that is stored.
_NEWEST = Cursor((1 << 63) - 1, UUID(int=(1 << 128) - 1))
# Of a table that grew since its statistics were taken PostgreSQL expects a few rows of a requester,
# and would sort all there are instead of reading the index backwards till there is enough.
_READ_IN_ORDER = "SET LOCAL enable_sort = off"
_LOOK = """
    SELECT accepted_at_ms, request_id, fits, place = %(look_at)s AS is_last
    FROM (SELECT accepted_at_ms, request_id, row_number() OVER newest_first AS place,
                 (%(campaign_id)s IS NULL OR campaign_id = %(campaign_id)s)
                 AND (%(lane)s IS NULL OR lane = %(lane)s)
                 AND (%(channel)s IS NULL OR channels & %(channel)s <> 0)
                 AND (%(due_from_ms)s IS NULL OR due_at_ms >= %(due_from_ms)s)
                 AND (%(due_to_ms)s IS NULL OR due_at_ms < %(due_to_ms)s) AS fits
          FROM requests
          WHERE requester = %(requester)s
            AND (accepted_at_ms, request_id) < (%(after_ms)s, %(after_id)s::uuid)
          WINDOW newest_first AS (ORDER BY accepted_at_ms DESC, request_id DESC)
          ORDER BY accepted_at_ms DESC, request_id DESC LIMIT %(look_at)s) looked_at
    WHERE fits OR place = %(look_at)s
    ORDER BY accepted_at_ms DESC, request_id DESC LIMIT %(most)s
"""


def read_page(
    connection: Connection,
    requester: str,
    filters: Filters,
    limit: int,
    after: Cursor | None = None,
) -> Page:
    """The newest accounts, or the newest behind `after`; `limit` (1 or more) of them at most.

    The caller opens a snapshot.
    """
    # One more than is shown tells that there is more. A state is known from the account only.
    most = limit + 1 if filters.state is None else LOOKED_AT
    looked_at = _look(connection, requester, filters, most, after or _NEWEST)
    fitting = [one.cursor.request_id for one in looked_at if one.fits]
    accounts = tuple(islice(_in_state(connection, filters.state, fitting), limit + 1))
    if len(accounts) > limit:
        last = accounts[limit - 1]
        return Page(accounts[:limit], Cursor(last.accepted_at_ms, last.request_id))
    more = looked_at and looked_at[-1].is_last
    return Page(accounts, looked_at[-1].cursor if more else None)


def _in_state(
    connection: Connection, state: State | None, ids: Sequence[UUID]
) -> Iterator[Account]:
    """The accounts in a state, or all of them; read as they are taken."""
    for first in range(0, len(ids), _ACCOUNTS_AT_ONCE):
        for account in read_accounts(connection, ids[first : first + _ACCOUNTS_AT_ONCE]):
            if state in {None, account.state}:
                yield account


@dataclass(frozen=True, slots=True)
class _LookedAt:
    """A request that was looked at; `is_last`: no more than so many are."""

    cursor: Cursor
    fits: bool
    is_last: bool


def _look(
    connection: Connection, requester: str, filters: Filters, most: int, after: Cursor
) -> list[_LookedAt]:
    """Up to `most` requests that fit by their columns; the last of those looked at in any case."""
    count(connection, _READ_IN_ORDER)
    found = rows(
        connection,
        _LOOK,
        requester=requester,
        campaign_id=filters.campaign_id,
        channel=filters.channel and filters.channel.bit,
        lane=None if filters.lane is None else filters.lane.rank,
        due_from_ms=filters.due_from_ms,
        due_to_ms=filters.due_to_ms,
        after_ms=after.accepted_at_ms,
        after_id=str(after.request_id),
        look_at=LOOKED_AT,
        most=most,
    )
    return [
        _LookedAt(Cursor(at_ms, UUID(str(id_))), bool(fits), is_last)
        for at_ms, id_, fits, is_last in found
    ]
