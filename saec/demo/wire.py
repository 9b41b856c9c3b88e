"""Turns the demo's events into the records that a requester or the registry publishes.

Requests go out as JSON, the registry as Avro: both ways in are used.
"""

import json

from saec.contracts import avro, headers
from saec.contracts.events import CancelRequested, CustomerRegistered, ScheduleRequested
from saec.kafka.records import Outgoing
from saec.settings import Topics


def schedule(topics: Topics, event: ScheduleRequested) -> Outgoing:
    """The record of a scheduling request."""
    message = event.message
    fields = {
        "type": "saec.v1.ScheduleRequested",
        "id": str(event.id),
        "requester": event.requester,
        "campaign_id": event.campaign_id,
        "channels": event.channels,
        "customers": event.customers,
        "due_at": event.due_at_ms,
        "expires_at": event.expires_at_ms,
        "lane": event.lane,
        "message": {
            "subject": message.subject,
            "body": message.body.decode(),
            "content_type": message.content_type,
            "attributes": message.attributes,
        },
    }
    return Outgoing(topics.requests, _json(fields), str(event.id).encode(), [])


def cancel(topics: Topics, event: CancelRequested) -> Outgoing:
    """The record of a cancel."""
    fields = {
        "type": "saec.v1.CancelRequested",
        "id": str(event.id),
        "requester": event.requester,
    }
    return Outgoing(topics.requests, _json(fields), str(event.id).encode(), [])


def customer(topics: Topics, event: CustomerRegistered) -> Outgoing:
    """The record of a customer."""
    opted_out = None if event.opted_out is None else sorted(event.opted_out)
    fields = event.model_dump(by_alias=True) | {"opted_out": opted_out}
    named = headers.cloud_event("saec.v1.CustomerRegistered", "/demo", event.id)
    value = avro.encode_single("customer_registered", fields)
    return Outgoing(topics.customers, value, event.id.encode(), named)


def _json(fields: object) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()
