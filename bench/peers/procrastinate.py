"""procrastinate, with a task that produces and awaits delivery: its worker is this module's main.

Its defaults, but for what would only hold it up here: it looks for due jobs every 50 ms and not
every 5 s, and runs 100 jobs at a time and not one.
"""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import procrastinate
from procrastinate.jobs import Job

from bench.child import module
from bench.peers.delivery import Delivery
from bench.peers.peer import Peer, Place
from bench.say import Progress
from bench.workload import BODY, Singles

_CHUNK = 1_000
_TASK = "send"


def prepare(place: Place) -> None:
    """Its tables."""

    async def apply() -> None:
        app = _app(place.database_url)
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    asyncio.run(apply())


def store(place: Place, asked: Singles) -> None:
    """One job each, in its own batches."""

    async def defer() -> None:
        app = _app(place.database_url)
        progress = Progress("jobs stored", len(asked))
        due = [(id_.decode(), due_ms) for id_, due_ms in asked.expected().items()]
        async with app.open_async():
            for start in range(0, len(due), _CHUNK):
                jobs = [_job(id_, due_ms) for id_, due_ms in due[start : start + _CHUNK]]
                await app.job_manager.batch_defer_jobs_async(jobs)
                progress.at(start + len(jobs))

    asyncio.run(defer())


def command(place: Place) -> Sequence[str]:
    """The worker."""
    where = place.database_url, place.bootstrap_servers, place.topic
    return module("bench.peers.procrastinate", *where)


def _job(id_: str, due_ms: int) -> Job:
    return Job(
        queue="default",
        lock=None,
        queueing_lock=None,
        task_name=_TASK,
        task_kwargs={"id_": id_, "body": BODY},
        scheduled_at=datetime.fromtimestamp(due_ms / 1000, UTC),
    )


def _app(url: str) -> procrastinate.App:
    return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))


async def _work(url: str, bootstrap_servers: str, topic: str) -> None:
    app, delivery = _app(url), Delivery(bootstrap_servers, topic)

    async def send(id_: str, body: str) -> None:
        await delivery.send(id_, body)

    app.task(name=_TASK)(send)
    async with app.open_async():
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await app.run_worker_async(concurrency=100, fetch_job_polling_interval=0.05)


PEER = Peer("procrastinate", "at least once", prepare, store, command)

if __name__ == "__main__":
    asyncio.run(_work(*sys.argv[1:4]))
