"""The loop that people write by hand, its worker this module's main.

DELETE … FOR UPDATE SKIP LOCKED … RETURNING, a Kafka transaction, then the COMMIT of the deletion. A
death between the two commits sends everything of the batch again.
"""

import sys
import threading
from collections.abc import Sequence
from typing import Any

import psycopg2
from confluent_kafka import Producer

from bench.child import module
from bench.peers.peer import Peer, Place
from bench.workload import BODY, Singles, record_value

_BATCH = 5_000
_LOOK_EVERY_S = 0.05
_TABLE = """
    CREATE TABLE outbox (seq bigserial PRIMARY KEY, due_at_ms bigint NOT NULL, id text NOT NULL,
                         body text NOT NULL);
    CREATE INDEX ON outbox (due_at_ms, seq)
"""
_STORE = """
    INSERT INTO outbox (due_at_ms, id, body)
    SELECT due_at_ms, id, %(body)s
    FROM unnest(%(dues_ms)s::bigint[], %(ids)s::text[]) due(due_at_ms, id)
"""
_TAKE = f"""
    DELETE FROM outbox WHERE seq IN (
        SELECT seq FROM outbox
        WHERE due_at_ms <= extract(epoch FROM clock_timestamp()) * 1000
        ORDER BY due_at_ms, seq LIMIT {_BATCH} FOR UPDATE SKIP LOCKED)
    RETURNING id, body
"""


def prepare(place: Place) -> None:
    """The table."""
    _execute(place.database_url, _TABLE, {})


def store(place: Place, asked: Singles) -> None:
    """One row each."""
    due = asked.expected()
    values = {"ids": [id_.decode() for id_ in due], "dues_ms": list(due.values()), "body": BODY}
    _execute(place.database_url, _STORE, values)


def command(place: Place) -> Sequence[str]:
    """The worker."""
    where = place.database_url, place.bootstrap_servers, place.topic
    return module("bench.peers.by_hand", *where)


def _execute(url: str, statement: str, values: dict[str, Any]) -> None:
    connection = psycopg2.connect(url, connect_timeout=10)
    with connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
    connection.close()


def _work(url: str, bootstrap_servers: str, topic: str) -> None:
    connection = psycopg2.connect(url, connect_timeout=10)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "transactional.id": "bench.by-hand",
            "linger.ms": 5,
            "log_level": 0,
        }
    )
    producer.init_transactions()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    never = threading.Event()
    while True:
        with connection, connection.cursor() as cursor:
            cursor.execute(_TAKE)
            taken = cursor.fetchall()
            if taken:
                _send(producer, topic, taken)
        if not taken:
            never.wait(_LOOK_EVERY_S)


def _send(producer: Any, topic: str, taken: list[tuple[str, str]]) -> None:
    producer.begin_transaction()
    for id_, body in taken:
        producer.produce(topic, record_value(id_.encode(), body.encode()), id_.encode())
    producer.commit_transaction()


PEER = Peer("by hand", "at least once, a batch at a time", prepare, store, command)

if __name__ == "__main__":
    _work(*sys.argv[1:4])
