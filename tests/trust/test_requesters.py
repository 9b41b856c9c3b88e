"""With a topic for each requester, nobody schedules or cancels in another one's name."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from saec.contracts.status import decode_status
from saec.kafka import topics
from saec.kafka.follow import Beginning, read_whole
from tests.outages.grounds import wait_until
from tests.outages.single import Process
from tests.trust.conftest import url_of
from tests.trust.secured import Secured, environment


@dataclass
class Ground:
    """The installation, closed as `saec acls` says, and what was answered so far."""

    secured: Secured
    answers: dict[tuple[str, str], Any] = field(default_factory=dict)

    def publish(self, role: str, topic: str, event: dict[str, Any], **headers: bytes) -> None:
        """Publish as `role`. Raises KafkaException."""
        failed: list[Any] = []
        mine = {"bootstrap.servers": f"127.0.0.1:{self.secured.sasl_port}", "log_level": 0}
        producer = Producer({**mine, **self.secured.kafka(role)})
        producer.produce(
            f"{self.secured.plain.topics.requests}{topic}",
            json.dumps(event).encode(),
            event["id"].encode(),
            headers=[(name.replace("_", "-"), value) for name, value in headers.items()],
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
        producer.flush()
        if failed:
            raise KafkaException(failed[0])

    def heard(self, request_id: str, count: int) -> list[tuple[str, str | None]]:
        """The first `count` answers to a request: status and reason."""
        found: list[tuple[str, str | None]] = []

        def look() -> bool:
            status = self.secured.plain.topics.status
            records = read_whole(self.secured.plain, [status], Beginning())
            mine = [one for one in records if one.key == request_id.encode()]
            found[:] = [(told.status, told.reason) for told in map(_decoded, mine)]
            return len(found) >= count

        wait_until(look)
        return found


def _decoded(record: Any) -> Any:
    return decode_status(record.value)


@pytest.fixture
def ground(secured: Secured, tmp_path: Path) -> Iterator[Ground]:
    """Two requesters with topics of their own, and the two processes that their requests pass."""
    plain = secured.plain.model_copy(update={"requesters": "billing,crm"})
    topics.create_missing(plain, plain.shards)
    bound = replace(secured, plain=plain, passwords=dict(secured.passwords))
    bound.allow()
    started = []
    try:
        for role in ("requests", "requesters"):
            settings = bound.settings(role, url_of(plain, role))
            process = Process(
                f"consumers.{role}", settings, tmp_path / f"{role}.log", **environment(settings)
            )
            started.append(process)
            process.wait_for("ready")
        yield Ground(bound)
    finally:
        for process in started:
            process.child.terminate()
            process.child.wait()


def scheduled(requester: str) -> dict[str, Any]:
    return {
        "type": "saec.v1.ScheduleRequested",
        "id": str(uuid4()),
        "requester": requester,
        "channels": ["PUSH"],
        "due_at": int(time.time() * 1000) + 86_400_000,
        "message": {"body": "x", "content_type": "text/plain"},
    }


def cancel(request_id: str, requester: str) -> dict[str, Any]:
    return {"type": "saec.v1.CancelRequested", "id": request_id, "requester": requester}


def test_nobody_acts_in_anothers_name(ground: Ground) -> None:
    mine, theirs, forged = scheduled("billing"), scheduled("crm"), scheduled("crm")
    ground.publish("requester-billing", ".billing", mine)
    ground.publish("requester-crm", ".crm", theirs)
    ground.publish("requester-billing", ".billing", forged, saec_requester=b"crm")
    assert ground.heard(mine["id"], 1) == [("ACCEPTED", None)]
    assert ground.heard(theirs["id"], 1) == [("ACCEPTED", None)]
    assert ground.heard(forged["id"], 1) == [("REJECTED", "requester_mismatch")]

    # All ids can be read on saec.status, and the requester guessed: it does not help.
    for guess in ("crm", "billing"):
        ground.publish("requester-billing", ".billing", cancel(theirs["id"], guess))
    told = ground.heard(theirs["id"], 3)  # of one batch, refusals come last
    assert set(told[1:]) == {("REJECTED", "requester_mismatch"), ("REJECTED", "other_requester")}
    ground.publish("requester-crm", ".crm", cancel(theirs["id"], "crm"))
    assert ground.heard(theirs["id"], 4)[3:] == [("CANCELLED", None)]


@pytest.mark.parametrize("topic", ["", ".crm"])
def test_a_requester_writes_to_its_own_topic_alone(ground: Ground, topic: str) -> None:
    with pytest.raises(KafkaException) as caught:
        ground.publish("requester-billing", topic, scheduled("billing"))
    assert caught.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
