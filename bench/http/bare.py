"""Bare: what a competent engineer would write first, `uvicorn bench.http.bare:app`.

Takes a body, produces it as it is, and answers 202 when Kafka has it: no keys, no validation, no
log. Invariant: acks=all and idempotent, as SAEC's endpoint is; nothing is answered before its
delivery report.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from confluent_kafka import Producer
from fastapi import FastAPI, Request

SERVERS, TOPIC = "BARE_BOOTSTRAP_SERVERS", "BARE_TOPIC"
_LINGER_MS = 2  # as SAEC's endpoint: what is compared is the work, not how long either waits


@asynccontextmanager
async def _lifespan(made: FastAPI) -> AsyncIterator[None]:
    producer = made.state.producer = Producer(
        {
            "bootstrap.servers": os.environ[SERVERS],
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": _LINGER_MS,
        }
    )
    stopping = threading.Event()

    def poll() -> None:
        while not stopping.is_set():
            producer.poll(0.1)

    thread = threading.Thread(target=poll)
    thread.start()
    yield
    producer.flush()
    stopping.set()
    thread.join()


app = FastAPI(lifespan=_lifespan)


@app.post("/v1/requests", status_code=HTTPStatus.ACCEPTED)
async def schedule(request: Request) -> dict[str, str]:
    """Produce the body, and wait for the delivery report."""
    loop = asyncio.get_running_loop()
    delivered: asyncio.Future[str] = loop.create_future()

    def told(error: Any, message: Any) -> None:
        if error is not None:
            loop.call_soon_threadsafe(delivered.set_exception, RuntimeError(str(error)))
        else:
            where = f"{message.topic()}/{message.partition()}/{message.offset()}"
            loop.call_soon_threadsafe(delivered.set_result, where)

    request.app.state.producer.produce(os.environ[TOPIC], await request.body(), on_delivery=told)
    return {"record": await delivered}
