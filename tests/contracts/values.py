"""Values that several tests of the contracts start from."""

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st

from saec.contracts import avro
from saec.contracts.decode import RejectedError, decode_request
from saec.contracts.events import CancelRequested, Channel, Message, ScheduleRequested

ID = "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10"
MAX_BYTES = 1_000_000

# What the README shows; whoever publishes by hand writes this.
SCHEDULE = (
    '{"type":"saec.v1.ScheduleRequested","id":"6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10",'
    '"requester":"billing","campaign_id":null,"channels":["EMAIL","SMS"],"customers":["42"],'
    '"due_at":"2026-12-01T09:00:00-03:00","expires_at":null,"lane":"TRANSACTIONAL","message":'
    '{"subject":"Fatura","body":"Olá! Sua fatura vence amanhã.",'
    '"content_type":"text/plain; charset=utf-8","attributes":{"template":"due-tomorrow"}}}'
)
CANCEL = (
    '{"type":"saec.v1.CancelRequested","id":"6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10",'
    '"requester":"billing"}'
)
CUSTOMER = (
    '{"type":"saec.v1.CustomerRegistered","id":"42","name":"Ana","email":"ana@example.com",'
    '"phone":"+5511987654321","opted_out":["WHATSAPP"]}'
)

AVRO_FIELDS: dict[str, Any] = {
    "id": ID,
    "requester": "billing",
    "campaign_id": None,
    "channels": ["EMAIL", "SMS"],
    "customers": ["42"],
    "due_at": 1_796_126_400_000,
    "expires_at": None,
    "lane": "TRANSACTIONAL",
    "message": {
        "subject": "Fatura",
        "body": "Olá! Sua fatura vence amanhã.".encode(),
        "content_type": "text/plain; charset=utf-8",
        "attributes": {"template": "due-tomorrow"},
    },
}


def schedule_json(**changes: Any) -> bytes:
    """The example with some fields changed."""
    return json.dumps({**json.loads(SCHEDULE), **changes}).encode()


def message_json(**changes: Any) -> bytes:
    """The example with some fields of its message changed; None takes one away."""
    message = {**json.loads(SCHEDULE)["message"], **changes}
    return schedule_json(message={k: v for k, v in message.items() if v is not None})


def schedule_avro(**changes: Any) -> bytes:
    """The same event in Avro, with some fields changed."""
    return avro.encode_single("schedule_requested", {**AVRO_FIELDS, **changes})


def decode(
    value: bytes, headers: list[tuple[str, bytes | None]] | None = None
) -> ScheduleRequested | CancelRequested:
    """Decode with the default bound."""
    return decode_request(value, headers, MAX_BYTES)


def scheduled(value: bytes) -> ScheduleRequested:
    """Decode what must be a ScheduleRequested."""
    event = decode(value)
    assert isinstance(event, ScheduleRequested)
    return event


def refusal(value: bytes | None, headers: list[tuple[str, bytes | None]] | None = None) -> str:
    """The reason code `value` is refused with."""
    with pytest.raises(RejectedError) as caught:
        decode_request(value, headers, MAX_BYTES)
    return caught.value.reason.value


def accepted(read: Callable[[], object]) -> bool:
    """Whether `read` accepts its input; whatever it does not must be a RejectedError."""
    try:
        read()
    except RejectedError:
        return False
    return True


instants = st.integers(0, 253_402_300_799_999)
uuids = st.uuids().map(lambda made: UUID(int=made.int))
channels = st.sampled_from(Channel)
lines = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=40)
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f"
    "\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
ids = lines.filter(
    lambda made: (
        bool(made)
        and made.strip() == made
        and not any(unicodedata.category(c) == "Cf" or _UNSEEN.match(c) for c in made)
    )
)
messages = st.builds(
    Message,
    subject=st.none() | lines,
    body=st.binary(max_size=300),
    content_type=st.just("text/plain; charset=utf-8"),
    attributes=st.dictionaries(ids, lines, max_size=5),
)
