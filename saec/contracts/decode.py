"""Bytes of a stranger, turned into a valid event or a RejectedError.

Owns the reading of JSON and Avro input. Invariant: no input raises anything but RejectedError,
and none takes time or memory out of proportion to its size: a megabyte costs at most a second of
one core and 64 megabytes, whatever it is.
"""

import unicodedata
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, TypeAdapter, ValidationError

from saec.contracts import avro
from saec.contracts.events import (
    CancelRequested,
    CustomerErased,
    CustomerRegistered,
    Id,
    Message,
    ScheduleRequested,
    canonical_uuid,
)
from saec.contracts.headers import ContentKind, RawHeaders, bound_requester, content_kind
from saec.contracts.json_text import parse_object
from saec.contracts.rejected import RejectedError
from saec.contracts.wording import in_words
from saec.errors import Reason

__all__ = [
    "EVENTS_IN_JSON",
    "RejectedError",
    "decode_customer",
    "decode_request",
    "request_of_json",
]

_Model = TypeVar("_Model", bound=BaseModel)
_Fields = dict[str, Any]

_REQUESTS: Mapping[str, type[ScheduleRequested | CancelRequested]] = {
    "schedule_requested": ScheduleRequested,
    "cancel_requested": CancelRequested,
}
_CUSTOMERS = {"customer_registered": CustomerRegistered}
EVENTS_IN_JSON = {
    "saec.v1.ScheduleRequested": "schedule_requested",
    "saec.v1.CancelRequested": "cancel_requested",
    "saec.v1.CustomerRegistered": "customer_registered",
}
"""What may be published in JSON: its type -> the name of its schema."""
_REASONS = {
    "id": Reason.INVALID_ID,
    "channels": Reason.UNKNOWN_CHANNEL,
    "customers": Reason.INVALID_CUSTOMERS,
    "due_at": Reason.INVALID_INSTANT,
    "expires_at": Reason.INVALID_INSTANT,
    "message": Reason.INVALID_MESSAGE,
}
_CUSTOM_REASONS = frozenset(reason.value for reason in Reason)
_FIELDS = {
    name
    for model in (ScheduleRequested, CancelRequested, CustomerRegistered, Message)
    for name in [*model.model_fields, "due_at", "expires_at"]
}
_CUSTOMER_ID = TypeAdapter[str](Id)


def decode_request(
    value: bytes | None, headers: RawHeaders, max_bytes: int
) -> ScheduleRequested | CancelRequested:
    """The event in a record of the requests topic. Raises RejectedError, and nothing else."""
    name, fields = _read(value, headers, max_bytes, _REQUESTS)
    event = _request_of(name, fields)
    bound = bound_requester(headers)
    if bound is not None and bound != event.requester.encode():
        raise RejectedError(
            Reason.REQUESTER_MISMATCH,
            "requester: not the one whose topic the record was published to",
            event.id,
        )
    return event


def request_of_json(fields: dict[str, Any]) -> ScheduleRequested | CancelRequested:
    """The event in a JSON object of the requests topic that was parsed already; takes it apart.

    Raises RejectedError, and nothing else.
    """
    return _request_of(*_of_json(fields, _REQUESTS))


def _request_of(name: str, fields: _Fields) -> ScheduleRequested | CancelRequested:
    try:
        return _validate(_REQUESTS[name], fields)
    except RejectedError as rejected:
        rejected.request_id = _request_id(fields)
        raise


def decode_customer(
    key: bytes | None, value: bytes | None, headers: RawHeaders, max_bytes: int
) -> CustomerRegistered | CustomerErased:
    """The event in a record of the customers topic. Raises RejectedError, and nothing else.

    The key must be the customer's id; a null value erases the customer.
    """
    customer_id = _customer_id(key)
    try:
        _refuse_quotes(customer_id)
        if value is None:
            return _erased(customer_id, key)
        name, fields = _read(value, headers, max_bytes, _CUSTOMERS)
        return _of_key(_validate(_CUSTOMERS[name], fields), customer_id)
    except RejectedError as rejected:
        rejected.customer_id = customer_id
        raise


def _of_key(customer: CustomerRegistered, customer_id: str | None) -> CustomerRegistered:
    if customer.id == customer_id:
        return customer
    hint = ""
    if customer_id is not None and _same_letters(customer.id, customer_id):
        hint = ": it has the same letters in another Unicode form"
    raise RejectedError(Reason.KEY_MISMATCH, f"the record's key is not the customer's id{hint}")


def _same_letters(one: str, other: str) -> bool:
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def _refuse_quotes(customer_id: str | None) -> None:
    """A key that went through a JSON serializer: nobody is registered under it."""
    if (
        customer_id is not None
        and len(customer_id) > 1
        and customer_id[0] == customer_id[-1] == '"'
    ):
        raise RejectedError(
            Reason.INVALID_ID,
            "the record's key has quotation marks around it, as JSON writes a text; publish it "
            "with a serializer of plain strings",
        )


def _read(
    value: bytes | None, headers: RawHeaders, max_bytes: int, names: Mapping[str, Any]
) -> tuple[str, _Fields]:
    """The event's name, one of `names`, and its fields, not validated yet."""
    if not value:
        raise RejectedError(Reason.EMPTY_VALUE, "no value")
    if len(value) > max_bytes:
        raise RejectedError(Reason.VALUE_TOO_LARGE, f"more than {max_bytes} bytes")
    if content_kind(headers, value) is ContentKind.AVRO:
        return avro.decode_single(value, names)
    return _of_json(parse_object(value), names)


def _of_json(fields: _Fields, names: Mapping[str, Any]) -> tuple[str, _Fields]:
    type_ = fields.pop("type", None)
    name = EVENTS_IN_JSON.get(type_) if isinstance(type_, str) else None
    if name is None or name not in names:
        raise RejectedError(
            Reason.UNKNOWN_EVENT_TYPE, "type: not an event of this topic", _request_id(fields)
        )
    try:
        return name, _json_body(fields)
    except RejectedError as rejected:
        rejected.request_id = _request_id(fields)
        raise


def _json_body(fields: _Fields) -> _Fields:
    """JSON carries the body as a text or in base64; the event has bytes."""
    message = fields.get("message")
    if not isinstance(message, dict):
        return fields
    text, base64 = message.pop("body", None), message.pop("body_base64", None)
    if (text is None) == (base64 is None):
        raise RejectedError(Reason.INVALID_MESSAGE, "message: not one of body and body_base64")
    message["body"] = _body_of_text(text) if base64 is None else _body_of_base64(base64)
    return fields


def _body_of_text(text: object) -> bytes:
    if not isinstance(text, str) or "\x00" in text:
        raise RejectedError(Reason.INVALID_MESSAGE, "message.body: not a text without U+0000")
    return text.encode()


def _body_of_base64(text: object) -> bytes:
    try:
        if isinstance(text, str):
            return b64decode(text, validate=True)
    except ValueError:
        pass
    raise RejectedError(Reason.INVALID_MESSAGE, "message.body_base64: not base64")


def _validate(model: type[_Model], fields: _Fields) -> _Model:
    try:
        return model.model_validate(fields, by_alias=True, by_name=False)
    except ValidationError as invalid:
        error = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
    kind, place, field = error["type"], error["loc"], _field(error["loc"])
    where = f"{field}: " if field else ""
    if kind in _CUSTOM_REASONS:
        raise RejectedError(Reason(kind), f"{where}{error['msg']}")
    reason = _REASONS.get(str(place[0]), Reason.INVALID_EVENT) if place else Reason.INVALID_EVENT
    raise RejectedError(reason, f"{where}{in_words(field, kind)}")


def _field(place: tuple[int | str, ...]) -> str:
    """`message.subject`: the names of our fields and positions, never a stranger's name."""
    return ".".join(str(p) if isinstance(p, int) or p in _FIELDS else "?" for p in place)


def _request_id(fields: _Fields) -> UUID | None:
    try:
        return canonical_uuid(fields.get("id"))
    except ValueError:
        return None


def _no_text(key: bytes | None) -> str:
    """What a key is that is none, if that can be said."""
    if not key:
        return ": there is none"
    if any(byte < 0x20 for byte in key):  # as in a number of eight bytes
        return ": it is binary; publish it with a serializer of plain strings"
    return ""


def _customer_id(key: bytes | None) -> str | None:
    """The key, if it can be a customer's id."""
    try:
        return _CUSTOMER_ID.validate_python((key or b"").decode())
    except ValueError:  # of pydantic and of UTF-8
        return None


def _erased(customer_id: str | None, key: bytes | None) -> CustomerErased:
    if customer_id is None:
        raise RejectedError(
            Reason.INVALID_ID, f"the record's key is not a customer's id{_no_text(key)}"
        )
    return CustomerErased(id=customer_id)
