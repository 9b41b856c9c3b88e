"""Producing from asyncio: awaiting a record is awaiting Kafka's acknowledgement of it."""

import asyncio
import threading
from typing import Any

from confluent_kafka import Producer

from bench.workload import record_value


class Delivery:
    """An idempotent producer whose acknowledgements come back to one event loop."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._topic = topic
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "enable.idempotence": True,
                "linger.ms": 2,
                "log_level": 0,
            }
        )
        threading.Thread(target=self._poll, daemon=True).start()

    async def send(self, id_: str, body: str) -> None:
        """Publish, and wait until Kafka has it."""
        done: asyncio.Future[None] = self._loop.create_future()

        def delivered(error: Any, _message: Any) -> None:
            self._loop.call_soon_threadsafe(_finish, done, error)

        value = record_value(id_.encode(), body.encode())
        self._producer.produce(self._topic, value, id_.encode(), on_delivery=delivered)
        await done

    def _poll(self) -> None:
        while True:
            self._producer.poll(0.1)


def _finish(done: "asyncio.Future[None]", error: Any) -> None:
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(RuntimeError(str(error)))
