"""Who asks, and whether they may.

Owns the API keys as they were last read from PostgreSQL. Invariant: a key that was revoked is
refused within `FRESH_S` seconds while PostgreSQL answers, also in a call that it opened before;
while it does not, the keys that were known stay good, so that requests are still taken. A key that
has expired is refused in any case: PostgreSQL's clock is counted on from when it was read.
"""

from asyncio import Lock, Semaphore, Task, create_task, shield
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import structlog
from aiolimiter import AsyncLimiter
from starlette.requests import Request

from saec.clock import Clock
from saec.errors import StoreUnavailableError
from saec.http.problems import (
    Code,
    Problem,
    too_many_requests,
    unauthenticated,
    unavailable,
)
from saec.keys import Scope, matches, parse
from saec.store.keys import KeyRow, KeyState

ADMIT = "saec.admit"
"""In the scope of a request: what to call, or be refused by, when its key was found good."""
FRESH_S = 2.0
_UNKNOWN_AGAIN_S = 1.0
BYTES_A_REQUEST = 4_096
"""So many bytes of a body count as one request more."""
_READS = 2
_VALIDATIONS = 1
_HOW = "send `Authorization: Bearer saec_…`; `saec keys add` makes a key"


@dataclass(slots=True)
class Holder:
    """A key in use: whose it is, what it may do, and how much of it has been used."""

    key: KeyRow
    limiter: AsyncLimiter = field(repr=False)
    # Bound here once: structlog would otherwise make another logger for each line.
    log: Any = field(default_factory=lambda: structlog.get_logger("saec.http").bind(), repr=False)
    at_a_time: int = 0
    # Others come in between, however much one reads, and however slow that is.
    reading: Semaphore = field(default_factory=lambda: Semaphore(_READS), repr=False)
    validating: Semaphore = field(default_factory=lambda: Semaphore(_VALIDATIONS), repr=False)
    bulks: int = 0

    @property
    def requester(self) -> str:
        """The one in whose name it acts."""
        return self.key.requester

    async def pay_for(self, body: bytes) -> None:
        """Count a large body as several requests: it takes as long, and slows its sender down."""
        if len(body) >= BYTES_A_REQUEST:
            more = len(body) // BYTES_A_REQUEST
            await self.limiter.acquire(min(more, self.limiter.max_rate))


Loaded = tuple[int, Sequence[KeyRow]]
"""PostgreSQL's clock, epoch milliseconds, and the keys that are usable then."""


class Keyring:
    """The keys. `load` reads those that are usable, in whatever way it likes."""

    def __init__(
        self,
        load: Callable[[], Awaitable[Loaded]],
        clock: Clock,
        default_rate: int,
        most_at_a_time: int,
    ) -> None:
        self._load = load
        self._clock = clock
        self._default_rate = default_rate
        self._most_at_a_time = most_at_a_time
        self._holders: dict[str, Holder] = {}
        self._read_ms, self._read_s = 0, 0.0
        self._looked_s: float | None = None
        self._is_known = False
        self._loading = Lock()
        self._looking: Task[None] | None = None

    async def refresh(self) -> None:
        """Read the keys again. Raises StoreUnavailableError."""
        async with self._loading:
            await self._look()

    @asynccontextmanager
    async def admitted(self, request: Request, *scopes: Scope) -> AsyncIterator[Holder]:
        """Who asks; within the block they have one request more under way.

        They must have one of `scopes`, and a request left of their rate.

        Raises:
            Problem: 401, 403 or 429; or 503 for a key that would have to be looked up, or when as
                many requests as may be are under way.
        """
        holder = await self._identified(request)
        if not any(scope in holder.key.scopes for scope in scopes):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                Code.SCOPE_MISSING,
                f"the API key has not the scope {' or '.join(scopes)}",
            )
        if not holder.limiter.has_capacity():
            raise too_many_requests(f"more than {holder.limiter.max_rate:.0f} requests a second")
        if holder.at_a_time >= self._most_at_a_time:  # else others would not be served
            raise too_many_requests(f"more than {self._most_at_a_time} requests at a time")
        request.scope.get(ADMIT, _nobody)()
        await holder.limiter.acquire()
        holder.at_a_time += 1
        try:
            yield holder
        finally:
            holder.at_a_time -= 1

    def check(self, holder: Holder, scope: Scope) -> None:
        """Whether who was let in, maybe long ago, would still be.

        Raises:
            Problem: 401.
        """
        known = self._holders.get(holder.key.key_id)
        if known is None or scope not in known.key.scopes or not self._is_good(known):
            raise unauthenticated("the API key was revoked or has expired since the call began")

    async def _identified(self, request: Request) -> Holder:
        key_id, secret = _bearer(request)
        holder = self._holders.get(key_id)
        if holder is None and (self._is_old() or not self._is_known):
            await self._look_again()
            holder = self._holders.get(key_id)
        if holder is None or not (
            matches(secret, holder.key.secret_hash) and self._is_good(holder)
        ):
            raise unauthenticated("the API key is unknown, was revoked or has expired")
        return holder

    def _is_good(self, holder: Holder) -> bool:
        return holder.key.state(self._now_ms()) is KeyState.ACTIVE

    def _now_ms(self) -> int:
        """PostgreSQL's clock, as far as it is known here."""
        return self._read_ms + int((self._clock.monotonic_s() - self._read_s) * 1000)

    def _is_old(self) -> bool:
        """Whether a key that was added just now may be missing; asked for rarely, if at all."""
        return (
            self._looked_s is None or self._clock.monotonic_s() - self._looked_s > _UNKNOWN_AGAIN_S
        )

    async def _look_again(self) -> None:
        """Of all who come with unknown keys at a time, one looks, and the others hear of it."""
        if self._looking is None or self._looking.done():
            self._looking = create_task(self._look_if_old())
        await shield(self._looking)  # who hangs up does not end it for the others
        if not self._is_known:
            raise unavailable(Code.POSTGRESQL_UNAVAILABLE, "the API key cannot be looked up now")

    async def _look_if_old(self) -> None:
        async with self._loading:
            if self._is_old():
                with suppress(StoreUnavailableError):
                    await self._look()

    async def _look(self) -> None:
        self._is_known = False
        try:
            began_s = self._clock.monotonic_s()
            now_ms, rows = await self._load()
            self._read_ms, self._read_s = now_ms, began_s
            self._holders = {row.key_id: self._holder(row) for row in rows}
            self._is_known = True
        finally:
            self._looked_s = self._clock.monotonic_s()

    def _holder(self, row: KeyRow) -> Holder:
        """The same as before where it is known: what was used of its rate stays used."""
        known = self._holders.get(row.key_id)
        if known is not None and known.key.rate == row.rate:
            known.key = row
            return known
        return Holder(row, AsyncLimiter(row.rate or self._default_rate, 1))


def _nobody() -> None:
    """There is no connection to tell of it."""


def _bearer(request: Request) -> tuple[str, str]:
    given = request.headers.getlist("authorization")
    if len(given) != 1:
        raise unauthenticated(f"not one Authorization header: {_HOW}")
    scheme, _, text = given[0].partition(" ")
    parsed = parse(text.strip()) if scheme.lower() == "bearer" else None
    if parsed is None:
        raise unauthenticated(f"not an API key: {_HOW}")
    return parsed
