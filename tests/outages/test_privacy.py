"""No log line holds what a stranger wrote: names, addresses, bodies, not even when things fail.

Personal data is planted in valid, invalid and hostile records, and the database and the broker are
made to complain about it in their own words, which quote it.
"""

import base64
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from saec.settings import Settings
from saec.store.engine import open_engine
from tests.dispatch.kit import Installed
from tests.outages.grounds import wait_until
from tests.outages.single import Process
from tests.survival.processes import MODULES

NAME, EMAIL, PHONE = "Xantipa Quixabeira", "xantipa@quixabeira.example", "+5511976543210"
SUBJECT, BODY, REQUESTER = "Fatura da Xantipa", "Olá Xantipa, deve R$ 31.415", "quixabeira-billing"
# Any of these, in any spelling that an error could quote.
PLANTED = ("xantipa", "quixabeira", "976543210", "31.415", b"Xantipa".hex(), "WGFudGlwY")


@pytest.fixture(scope="module")
def settings(ruin: Callable[..., Settings]) -> Settings:
    """One installation."""
    return ruin(shards=2, partitions=1)


@pytest.fixture
def installed(settings: Settings) -> Iterator[Installed]:
    """The same, to look and to change it."""
    engine = open_engine(settings.database_url)
    yield Installed(settings, engine)
    engine.dispose()


def schedule(**changed: object) -> dict[str, object]:
    """A request that is due at once, full of personal data."""
    return {
        "type": "saec.v1.ScheduleRequested",
        "id": str(uuid.uuid4()),
        "requester": REQUESTER,
        "channels": ["EMAIL", "SMS"],
        "customers": ["42"],
        "due_at": "2026-01-01T00:00:00Z",
        "message": {
            "subject": SUBJECT,
            "body": BODY,
            "content_type": "text/plain",
            "attributes": {NAME: EMAIL},
        },
        **changed,
    }


def customer(**changed: object) -> dict[str, object]:
    """A registration."""
    return {
        "type": "saec.v1.CustomerRegistered",
        "id": "42",
        "name": NAME,
        "email": EMAIL,
        "phone": PHONE,
        **changed,
    }


def hostile(event: dict[str, object]) -> Iterator[bytes]:
    """An event as strangers write it."""
    text = json.dumps(event, ensure_ascii=False)
    yield text[:-20].encode()
    yield text.encode("utf-16")
    yield text.encode("latin-1", "replace") + b"\xff"
    yield text.encode() + BODY.encode()
    yield b"\xc3\x01" + text.encode()
    yield text.replace("{", '{"' + NAME + '":1,"' + NAME + '":2,', 1).encode()
    yield json.dumps({**event, "type": NAME}).encode()
    yield json.dumps({**event, NAME: {EMAIL: PHONE}}).encode()
    yield json.dumps({**event, "message": BODY * 30_000}).encode()
    for field in event:
        yield json.dumps({**event, field: EMAIL}).encode()
        yield json.dumps({**event, field: {NAME: [BODY]}}).encode()
        yield json.dumps({**event, field: f"{NAME}\u0000\ud800\r\n{BODY}"}).encode()


class Publisher:
    """Publishes to both source topics."""

    def __init__(self, settings: Settings) -> None:
        self._topics = settings.topics
        self._producer = Producer(
            {"bootstrap.servers": settings.bootstrap_servers, "message.max.bytes": 4_000_000}
        )

    def request(self, value: object, key: str = NAME) -> None:
        """Publish to saec.requests."""
        self._publish(self._topics.requests, value, key)

    def customer(self, value: object, key: str = "42") -> None:
        """Publish to saec.customers."""
        self._publish(self._topics.customers, value, key)

    def close(self) -> None:
        """End it before its broker does."""
        self._producer.close()

    def _publish(self, topic: str, value: object, key: str) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        headers = {"traceparent": NAME, NAME: EMAIL, "saec-reason": BODY}
        self._producer.produce(topic, data, key, headers=headers)
        assert self._producer.flush(60) == 0


@contextmanager
def changed(installed: Installed, do: str, undo: str) -> Iterator[None]:
    """The database as it complains about what is planted; the change stands until the end."""
    installed.execute(do)
    yield
    installed.execute(undo)


def abandoned(process: Process) -> int:
    """How often a process failed, as far as it told."""
    return sum("lasts_s" in line for line in process.lines())


def recovered(process: Process) -> int:
    """How often it went on."""
    return sum(line["event"] == "working again" for line in process.lines())


_ODD = (
    "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " RAISE EXCEPTION USING MESSAGE = 'invalid', DETAIL = NEW::text, HINT = NEW::text; END $$;"
    "CREATE TRIGGER odd BEFORE INSERT ON pending FOR EACH ROW EXECUTE FUNCTION odd()"
)
COMPLAINTS = {
    "a text too long, in a COPY": (
        "requests",
        "ALTER TABLE pending ALTER COLUMN requester TYPE varchar(3)",
        "ALTER TABLE pending ALTER COLUMN requester TYPE text",
    ),
    "a row that fails a check": (
        "customers",
        "ALTER TABLE customers ADD CONSTRAINT odd CHECK (email NOT LIKE 'xantipa%%') NOT VALID",
        "ALTER TABLE customers DROP CONSTRAINT odd",
    ),
    "an error that quotes the row": (
        "requests",
        _ODD,
        "DROP FUNCTION odd CASCADE",
    ),
    "a key that is taken": (
        "customers",
        "CREATE UNIQUE INDEX odd ON customers (phone) WHERE customer_id LIKE 'a key%%'",
        "DROP INDEX odd",
    ),
}


def limit(settings: Settings, topic: str, max_bytes: int) -> None:
    """Set how large a record of a topic may be."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    entry = ConfigEntry(
        "max.message.bytes", str(max_bytes), incremental_operation=AlterConfigOpType.SET
    )
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    (done,) = admin.incremental_alter_configs([change]).values()
    done.result(60)


def test_no_line_holds_what_a_stranger_wrote(
    settings: Settings, installed: Installed, start: Callable[..., Process]
) -> None:
    far = {"SAEC_GRACE_S": str(400 * 86_400)}
    processes = {module.rpartition(".")[2]: start(module, **far) for module in MODULES}
    publisher, email = Publisher(settings), settings.topics.dispatch["EMAIL"]  # type: ignore[index]
    processes["dispatch"].wait_for("shards taken over")

    publisher.customer(customer())
    for number, value in enumerate(hostile(customer())):
        publisher.customer(value, key=(EMAIL, "42", NAME)[number % 3])
    for value in hostile(schedule()):
        publisher.request(value)
    publisher.customer(customer())
    last = schedule()
    publisher.request(last)
    stored = f"SELECT 1 FROM requests WHERE request_id = '{last['id']}'"
    wait_until(lambda: installed.sql(stored) != [])
    wait_until(lambda: installed.pending() == 0)

    for complaint, (role, do, undo) in COMPLAINTS.items():
        process = processes[role]
        before = abandoned(process), recovered(process)
        with changed(installed, do, undo):
            if role == "requests":
                publisher.request(schedule())
            else:
                for one in (f"{complaint} 1", f"{complaint} 2"):
                    publisher.customer(customer(id=one), key=one)
            wait_until(lambda p=process, b=before: abandoned(p) > b[0])  # type: ignore[misc]
        wait_until(lambda p=process, b=before: recovered(p) > b[1])  # type: ignore[misc]

    limit(settings, email, 200)
    publisher.request(schedule())
    processes["dispatch"].wait_for("Kafka refuses what is due")
    limit(settings, email, 1_000_000)
    wait_until(lambda: installed.pending() == 0)
    assert any(BODY.encode() in one.message.body for one in installed.dispatched())

    publisher.close()
    for process in processes.values():
        process.stop()
        text = process.log.read_text().lower()
        assert text
        found = [line for line in text.splitlines() if any(p.lower() in line for p in PLANTED)]
        assert found == []
    assert base64.b64encode(b"Xantipa").decode().startswith("WGFudGlwY")
