"""What one key asks costs others nothing but a turn: by the order in which work is done."""

import asyncio
import threading
from typing import Any, cast

import pytest
from aiolimiter import AsyncLimiter

from saec.http.endpoint import Endpoint
from saec.http.keyring import BYTES_A_REQUEST, Holder, Keyring
from saec.http.reading import Pending
from saec.keys import Scope, new_key
from saec.settings import Settings
from saec.store.keys import KeyRow
from tests.http.kit import asked, run, standing_clock
from tests.http.test_keyring import Ring, made

FREE = 1_000_000


def holder(requester: str, rate: int = FREE) -> Holder:
    _, key_id, secret_hash = new_key()
    row = KeyRow(key_id, secret_hash, "a job", requester, tuple(Scope), rate, 0, None, None)
    return Holder(row, AsyncLimiter(rate, 1))


def endpoint_of(keyring: Any = None, reader: Any = None) -> Endpoint:
    parts: tuple[Any, ...] = (None, None, keyring, reader)
    return Endpoint(Settings(), *parts)


@pytest.mark.parametrize("size", [4_000, 32_000])
def test_between_two_bodies_of_a_key_others_have_their_turn(size: int) -> None:
    order: list[str] = []

    def make(body: bytes, whose: str) -> None:
        order.append(whose)

    async def work() -> None:
        endpoint, ana, bia = endpoint_of(), holder("ana"), holder("bia")
        body = b"x" * size
        many = [asyncio.create_task(endpoint.validated(ana, make, body, "ana")) for _ in range(200)]
        one = asyncio.create_task(endpoint.validated(bia, make, body, "bia"))
        await asyncio.gather(one, *many)

    run(work)
    assert order.index("bia") <= 2


def test_a_key_takes_one_of_the_threads_for_large_bodies() -> None:
    """Were it to take both, the other key would not come before it is done."""
    done = threading.Event()

    async def work() -> None:
        endpoint, ana, bia = endpoint_of(), holder("ana"), holder("bia")
        body = b"x" * 100_000
        many = [
            asyncio.create_task(endpoint.validated(ana, lambda _: done.wait(60), body))
            for _ in range(20)
        ]
        await endpoint.validated(bia, lambda _: done.set(), body)
        assert all(await asyncio.gather(*many))

    run(work)


def test_bytes_count_against_the_rate() -> None:
    async def work() -> None:
        endpoint, ana = endpoint_of(), holder("ana", rate=100)
        with standing_clock():
            for _ in range(10):
                await endpoint.validated(ana, len, b"x" * BYTES_A_REQUEST * 10)
            assert not ana.limiter.has_capacity(1)
        tiny = holder("bia", rate=1)
        await endpoint.validated(tiny, len, b"x" * 1_000_000)  # more than its rate, and not never

    run(work)


def test_what_is_pending_of_one_is_not_waited_for_by_another() -> None:
    """Two who ask the same cost one look; who asks something else does not wait for it."""
    (ana, her_row), (bia, his_row) = (
        made(requester=requester, scopes=(Scope.READ,)) for requester in ("ana", "bia")
    )
    looks: list[str | None] = []

    async def work() -> None:
        hanging = asyncio.Event()

        class Reader:
            async def read(self, _: Any, requester: str | None) -> list[Any]:
                looks.append(requester)
                if requester == "ana":
                    await hanging.wait()
                return []

        ring = Ring([her_row, his_row])
        await ring.keyring.refresh()
        endpoint, pending = endpoint_of(cast("Keyring", ring.keyring), Reader()), Pending()

        def ask(key: str) -> asyncio.Task[Any]:
            request = asked(headers={"authorization": f"Bearer {key}"})
            return asyncio.create_task(pending.handle(endpoint, request))

        hers = [ask(ana), ask(ana)]
        await asyncio.sleep(0)
        assert (await ask(bia)).status_code == 200
        assert not any(task.done() for task in hers)
        hanging.set()
        assert [(await task).status_code for task in hers] == [200, 200]
        assert looks == ["ana", "bia"]

    run(work)
