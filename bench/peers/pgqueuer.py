"""pgqueuer, with an entrypoint that produces and awaits delivery: its worker is this module's main.

Its defaults, but for the batch of 1,000 jobs instead of 10.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import psycopg
from pgqueuer import PgQueuer
from pgqueuer.db import PsycopgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.child import module
from bench.peers.delivery import Delivery
from bench.peers.peer import Peer, Place
from bench.say import Progress
from bench.workload import BODY, Singles

_CHUNK = 200
_ENTRYPOINT = "send"
_ID_CHARACTERS = 36


def prepare(place: Place) -> None:
    """Its tables."""

    async def install() -> None:
        async with _driver(place.database_url) as driver:
            await Queries(driver).install()

    asyncio.run(install())


def store(place: Place, asked: Singles) -> None:
    """One job each; due so long after now, a few at a time, since it takes no instant."""

    async def enqueue() -> None:
        progress = Progress("jobs stored", len(asked))
        due = list(asked.expected().items())
        async with _driver(place.database_url) as driver:
            queries = Queries(driver)
            for start in range(0, len(due), _CHUNK):
                chunk, now_ms = due[start : start + _CHUNK], time.time() * 1000
                await queries.enqueue(
                    [_ENTRYPOINT] * len(chunk),
                    [id_ + BODY.encode() for id_, _ in chunk],
                    [0] * len(chunk),
                    [timedelta(milliseconds=due_ms - now_ms) for _, due_ms in chunk],
                )
                progress.at(start + len(chunk))

    asyncio.run(enqueue())


def command(place: Place) -> Sequence[str]:
    """The worker."""
    where = place.database_url, place.bootstrap_servers, place.topic
    return module("bench.peers.pgqueuer", *where)


@asynccontextmanager
async def _driver(url: str) -> AsyncIterator[PsycopgDriver]:
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    async with connection:
        yield PsycopgDriver(connection)


async def _work(url: str, bootstrap_servers: str, topic: str) -> None:
    delivery = Delivery(bootstrap_servers, topic)
    async with _driver(url) as driver:
        queuer = PgQueuer(driver)

        async def send(job: Job) -> None:
            text = (job.payload or b"").decode()
            await delivery.send(text[:_ID_CHARACTERS], text[_ID_CHARACTERS:])

        queuer.entrypoint(_ENTRYPOINT)(send)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await queuer.run(batch_size=1_000)


PEER = Peer("pgqueuer", "at least once", prepare, store, command)

if __name__ == "__main__":
    asyncio.run(_work(*sys.argv[1:4]))
