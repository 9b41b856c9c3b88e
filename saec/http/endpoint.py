"""What the handlers work with, and how a request or a cancel is put to SAEC.

Invariant: nothing counts as published that Kafka has not acknowledged.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from saec.contracts.headers import traceparent as valid_traceparent
from saec.contracts.status import RequestStatus
from saec.errors import StoreUnavailableError
from saec.http.answers import Answers
from saec.http.keyring import Holder, Keyring
from saec.http.questions import Question
from saec.kafka.async_producer import Appended, AsyncProducer
from saec.kafka.records import Outgoing
from saec.settings import Settings
from saec.store.engine import Bounds, Engine, transaction

KEY_HEADER = "saec-key"
"""Names the API key in the record, by its id: a trail that lasts as long as the topic."""
_READERS = 3  # the engine has four connections; one is for the keys
_READING = Bounds(statement_s=5)
_ANSWER_S = 10.0
_BULKS = 8
_TINY_BYTES = 2_048
_SMALL_BYTES = 32_768
_Read = TypeVar("_Read")
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The parts of a running endpoint."""

    settings: Settings
    producer: AsyncProducer
    answers: Answers
    keyring: Keyring
    reader: "Reader"
    bulks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_BULKS))
    # A large body takes a while: the event loop goes on meanwhile, and each key has one at a time.
    validators: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "valid"))

    def record(self, question: Question, holder: Holder, traceparent: str | None) -> Outgoing:
        """What to publish. A `traceparent` that is not valid is left out."""
        headers = [("content-type", b"application/json"), (KEY_HEADER, holder.key.key_id.encode())]
        if traceparent is not None:
            trace = ("traceparent", traceparent.encode())
            headers += [trace] if valid_traceparent([trace]) is not None else []
        topic = self.settings.topics.requests
        return Outgoing(topic, question.value, question.request_id.encode(), headers)

    async def ask(
        self, request_id: str, record: Outgoing, wait_s: float
    ) -> tuple[Appended, RequestStatus | None]:
        """Publish, and wait for the answer for up to `wait_s` seconds; None: it did not come.

        Raises:
            BrokerUnavailableError: not acknowledged.
        """
        with self.answers.expecting(request_id) as expected:
            appended = await self.producer.publish(record)
            try:
                async with asyncio.timeout(wait_s):
                    return appended, await expected.to(appended)
            except TimeoutError:
                return appended, None

    async def read(self, holder: Holder, read: Callable[..., _Read], *args: Any) -> _Read:
        """What `read` finds, for `holder`, who waits for what they asked before.

        Raises:
            StoreUnavailableError: no answer, or not in time.
        """
        async with in_time(), holder.reading:
            return await self.reader.read(read, *args)

    async def validated(
        self, holder: Holder, make: Callable[..., _Made], body: bytes, *args: Any
    ) -> _Made:
        """What `make` makes of a body and `args`, for `holder`, who waits for what came before."""
        if len(body) <= _TINY_BYTES:
            return make(body, *args)
        await holder.pay_for(body)
        async with holder.validating:
            if len(body) <= _SMALL_BYTES:
                await asyncio.sleep(0)  # within: others have their turn before this key's next
                return make(body, *args)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.validators, partial(make, body, *args))


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """Within the block what is waited for from PostgreSQL has 10 s.

    A server that hangs keeps no time-out of its own, and waiting for others who read takes time.

    Raises:
        StoreUnavailableError: it took longer.
    """
    try:
        async with asyncio.timeout(_ANSWER_S):
            yield
    except TimeoutError:
        raise StoreUnavailableError("PostgreSQL: no answer in time") from None


class Reader:
    """Reads PostgreSQL, beside the event loop."""

    def __init__(self, engine: Engine, threads: int = _READERS) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(threads, "reader")

    async def read(self, read: Callable[..., _Read], *args: Any) -> _Read:
        """What `read` finds, given a connection and `args`, in one snapshot and within 5 s.

        Raises:
            StoreUnavailableError: no answer, or not in time; 10 s after the call at the latest.
        """
        loop = asyncio.get_running_loop()
        async with in_time():
            return await loop.run_in_executor(self._threads, partial(self._read, read, args))

    def close(self) -> None:
        """Wait for nobody."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _read(self, read: Callable[..., _Read], args: Sequence[Any]) -> _Read:
        with transaction(self._engine, snapshot=True, primary=True, bounds=_READING) as connection:
            return read(connection, *args)
