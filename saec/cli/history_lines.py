"""How each event of a story is told: in a line for people, as fields for JSON.

Invariant: the names of events and fields are stable; scripts rely on them.
"""

from collections.abc import Iterator
from typing import Any, assert_never

from saec.cli.output import counted
from saec.contracts.events import Channel
from saec.contracts.instants import iso
from saec.history.events import (
    Answered,
    Asked,
    CancelAsked,
    Dispatched,
    Event,
    Pending,
    Place,
    Remark,
    Sent,
    Skipped,
)


def places(place: Place | None) -> dict[str, Any]:
    """Where a record stands, as fields."""
    topic, partition, offset = place or (None, None, None)
    return {"topic": topic, "partition": partition, "offset": offset}


def as_line(event: Event) -> str:
    """What happened, in a few words."""
    match event:
        case Asked():
            return _asked(event)
        case CancelAsked():
            return f"by {event.requester}" if event.requester else ""
        case Answered():
            return _answered(event)
        case Remark():
            return event.what
        case _:
            return _of_slices(event)


def indented(event: Event, most_messages: int) -> Iterator[str]:
    """What stands below the line: the messages of a batch, and how many more there are."""
    if not isinstance(event, Dispatched):
        return
    for sent in event.messages[:most_messages]:
        customer = "everyone" if sent.customer_id is None else f"customer {sent.customer_id}"
        yield f"{sent.channel:<8}  {customer}  {sent.place}"
    more = len(event.messages) - most_messages
    if more > 0:
        yield f"and {more:,} more: --messages {len(event.messages)} shows them, --json all"


def as_dict(event: Event) -> dict[str, Any]:
    """What happened, as fields; instant and place are told apart."""
    match event:
        case Asked():
            return {
                "requester": event.requester,
                "campaign_id": event.campaign_id,
                "channels": _names(event.channels),
                "recipients": event.recipients,
                "due_at": iso(event.due_at_ms),
                "expires_at": iso(event.expires_at_ms),
            }
        case CancelAsked():
            return {"requester": event.requester}
        case Answered():
            return {
                "status": event.status.value,
                "reason": event.reason,
                "detail": event.detail,
                "counts": dict(event.counts or {}),
                "about": None if event.about is None else places(event.about),
            }
        case _:
            return _as_dict(event)


def _as_dict(event: Dispatched | Skipped | Pending | Remark) -> dict[str, Any]:
    match event:
        case Dispatched():
            return {
                "shard": event.shard,
                "batch": event.batch_no,
                "slices": [
                    {"slice": s.slice_no, "recipients": s.recipients, "messages": s.messages}
                    for s in event.slices
                ],
                "messages": [_sent(sent) for sent in event.messages],
            }
        case Skipped():
            return {
                "slice": event.slice_no,
                "channel": event.channel.value,
                "reason": event.reason,
                "messages": event.messages,
            }
        case Pending():
            return {
                "slice": event.slice_no,
                "channels": _names(event.channels),
                "recipients": event.recipients,
                "messages": event.messages,
                "claimed": event.claimed,
            }
        case Remark():
            return {"what": event.what}
        case _:
            assert_never(event)


def _sent(sent: Sent) -> dict[str, Any]:
    return {
        "channel": sent.channel.value,
        "customer_id": sent.customer_id,
        "message_id": sent.message_id,
        **places(sent.place),
    }


def _names(channels: tuple[Channel, ...] | None) -> list[str] | None:
    return None if channels is None else [channel.value for channel in channels]


def _asked(event: Asked) -> str:
    if event.channels is None or event.recipients is None:
        return "cannot be read"
    recipients = counted(event.recipients, "recipient")
    parts = [
        f"by {event.requester}: {', '.join(event.channels)} to {recipients}",
        f"due {iso(event.due_at_ms)}",
        None if event.expires_at_ms is None else f"expires {iso(event.expires_at_ms)}",
        None if event.campaign_id is None else f"campaign {event.campaign_id}",
    ]
    return ", ".join(part for part in parts if part)


def _answered(event: Answered) -> str:
    counts = " ".join(f"{name}={number}" for name, number in (event.counts or {}).items())
    about = None if event.about is None else f"to {event.about}"
    parts = (event.status, event.reason, event.detail, counts, about)
    return "  ".join(part for part in parts if part)


def _of_slices(event: Dispatched | Skipped | Pending) -> str:
    match event:
        case Dispatched():
            return _dispatched(event)
        case Skipped():
            what = counted(event.messages, "message")
            return f"slice {event.slice_no}: {what} by {event.channel}: {event.reason}"
        case Pending():
            return _pending(event)
        case _:
            assert_never(event)


def _dispatched(event: Dispatched) -> str:
    numbers = [slice_.slice_no for slice_ in event.slices]
    slices = f"slice {numbers[0]}" if len(numbers) == 1 else f"slices {_ranges(numbers)}"
    sent = counted(sum(slice_.messages for slice_ in event.slices), "message")
    return f"batch {event.batch_no:,} of shard {event.shard}: {slices}, {sent}"


def _pending(event: Pending) -> str:
    to = f"{', '.join(event.channels)} to {counted(event.recipients, 'recipient')}"
    return f"slice {event.slice_no}: {to}{', on its way' if event.claimed else ''}"


def _ranges(numbers: list[int]) -> str:
    """`0-3, 5`."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)
