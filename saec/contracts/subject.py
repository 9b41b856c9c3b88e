"""What a value of any of SAEC's topics is about: which requests, which customers, which campaign.

Invariant: only released events tell; what else a value may be raises RejectedError.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from uuid import UUID

from saec.contracts import avro
from saec.contracts.decode import EVENTS_IN_JSON
from saec.contracts.headers import ContentKind, RawHeaders, content_kind
from saec.contracts.json_text import parse_object
from saec.contracts.rejected import RejectedError
from saec.errors import Reason

_Fields = dict[str, Any]


class Subject(NamedTuple):
    """Ids as texts. `campaign` is None where the event does not say one, as cancels do not."""

    requests: frozenset[str] = frozenset()
    customers: frozenset[str] = frozenset()
    campaign: str | None = None


def subject_of(value: bytes, headers: RawHeaders) -> Subject:
    """What an event is about. Its fields are taken as they are: it may be one SAEC refuses.

    Raises:
        RejectedError: it is no event of SAEC's.
    """
    if content_kind(headers, value) is ContentKind.AVRO:
        name, fields = avro.decode_single(value, avro.names())
    else:
        fields = parse_object(value)
        name = _name(fields.get("type"))
    tell = _SUBJECTS.get(name)
    return Subject() if tell is None else tell(fields)


def _name(type_: object) -> str:
    name = EVENTS_IN_JSON.get(type_) if isinstance(type_, str) else None
    if name is None:
        raise RejectedError(Reason.UNKNOWN_EVENT_TYPE, "type: not an event of SAEC's")
    return name


def _texts(values: object) -> frozenset[str]:
    """The ids among what a stranger may have put there."""
    listed = values if isinstance(values, list) else [values]
    return frozenset(value for value in listed if isinstance(value, str))


def _schedule(fields: _Fields) -> Subject:
    campaign = fields.get("campaign_id")
    return Subject(
        _texts(fields.get("id")),
        _texts(fields.get("customers")),
        campaign if isinstance(campaign, str) else None,
    )


def _message(fields: _Fields) -> Subject:
    return Subject(
        _texts(fields["request_id"]), _texts(fields["customer_id"]), fields["campaign_id"]
    )


def _batch(fields: _Fields) -> Subject:
    return Subject(_uuids([*fields["slices"], *fields["skips"]]))


def _uuids(items: Iterable[_Fields]) -> frozenset[str]:
    return frozenset(str(UUID(bytes=item["request_id"])) for item in items)


_SUBJECTS: dict[str, Callable[[_Fields], Subject]] = {
    "schedule_requested": _schedule,
    "cancel_requested": lambda fields: Subject(requests=_texts(fields.get("id"))),
    "customer_registered": lambda fields: Subject(customers=_texts(fields.get("id"))),
    "dispatch_message": _message,
    "request_status": lambda fields: Subject(
        _texts(fields["request_id"]), _texts(fields["customer_id"])
    ),
    "batch_committed": _batch,
}
"""The others, as the ledger's sentinels, are about nobody."""
