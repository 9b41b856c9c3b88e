"""The events that people publish, as values that are valid by construction.

Owns every bound on them. Invariant: what passes here fits, with room to spare, into one dispatch
message, so no accepted request can poison a batch. JSON and Avro go through the same models.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from typing import Annotated, ClassVar, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from saec.contracts.instants import FIRST_PLAUSIBLE_MS, instant_ms
from saec.errors import Reason

MAX_CUSTOMERS = 10_000
MAX_ATTRIBUTES = 64
MAX_FIELDS = 64
"""Of a JSON object that is to be an event or its message; what is unknown is refused anyway."""
MAX_MESSAGE_BYTES = 900_000
"""Largest message part of a dispatch message; the rest of it is below 3,000 bytes."""


class Channel(StrEnum):
    """Where a message goes out. The order here is the order everywhere."""

    EMAIL = "EMAIL"
    SMS = "SMS"
    WHATSAPP = "WHATSAPP"
    PUSH = "PUSH"

    @property
    def bit(self) -> int:
        """This channel in a set of channels held as an int: EMAIL 1, SMS 2, WHATSAPP 4, PUSH 8."""
        return _BITS[self]


_BITS = {channel: 1 << place for place, channel in enumerate(Channel)}


def channels_to_bits(channels: Iterable[Channel]) -> int:
    """The set of channels as an int."""
    bits = 0
    for channel in channels:
        bits |= _BITS[channel]
    return bits


@cache
def bits_to_channels(bits: int) -> tuple[Channel, ...]:
    """The channels of an int made by `channels_to_bits`, in canonical order."""
    return tuple(channel for channel, bit in _BITS.items() if bits & bit)


class Lane(StrEnum):
    """What goes first when both are due."""

    TRANSACTIONAL = "TRANSACTIONAL"
    CAMPAIGN = "CAMPAIGN"

    @property
    def rank(self) -> int:
        """0 for TRANSACTIONAL, which goes first; 1 for CAMPAIGN."""
        return int(self is Lane.CAMPAIGN)


def _refuse(reason: Reason, kind: str) -> PydanticCustomError:
    """An error that carries its reason code as its type."""
    return PydanticCustomError(reason.value, kind)


CANONICAL_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def canonical_uuid(value: object) -> UUID:
    """The UUID of its canonical text, lowercase with hyphens. Raises ValueError otherwise."""
    if isinstance(value, UUID):
        return value
    if not isinstance(value, str) or not CANONICAL_UUID.fullmatch(value):
        raise ValueError("not a canonical UUID")
    return UUID(value)


def _request_id(value: object) -> UUID:
    try:
        return canonical_uuid(value)
    except ValueError:
        raise _refuse(Reason.INVALID_ID, "not a canonical lowercase UUID") from None


def _instant(value: object) -> int:
    try:
        return instant_ms(value)
    except ValueError as error:
        raise _refuse(Reason.INVALID_INSTANT, str(error)) from None


def _channels(value: object) -> tuple[Channel, ...]:
    """Doubles removed, in canonical order."""
    if not isinstance(value, list | tuple | set | frozenset):
        raise _refuse(Reason.INVALID_EVENT, "not a list")
    if not all(isinstance(name, str) and name in _BITS for name in value):
        raise _refuse(Reason.UNKNOWN_CHANNEL, "not a channel")
    return bits_to_channels(channels_to_bits(value))


def _customers(value: object) -> tuple[str, ...]:
    """Doubles removed, first mention kept."""
    if not isinstance(value, list | tuple):
        raise _refuse(Reason.INVALID_CUSTOMERS, "not a list")
    if not all(isinstance(customer, str) for customer in value):
        raise _refuse(Reason.INVALID_CUSTOMERS, "not a list of texts")
    customers = tuple(dict.fromkeys(value))
    if len(customers) > MAX_CUSTOMERS:
        raise _refuse(Reason.INVALID_CUSTOMERS, "more than 10,000 customers")
    return customers


def _attributes(value: object) -> object:
    if isinstance(value, dict) and len(value) > MAX_ATTRIBUTES:
        raise _refuse(Reason.INVALID_MESSAGE, "more than 64 attributes")
    return value


# No control characters or line ends anywhere, no space at either end: ids become record keys. And
# nothing that is not seen: of two names that look alike, one would pass for the other.
_UNSEEN = r"\p{Cf}\p{DI}\x{2800}"
_ID = (
    rf"^[^\p{{Cc}}\p{{Z}}{_UNSEEN}]"
    rf"([^\p{{Cc}}\p{{Zl}}\p{{Zp}}{_UNSEEN}]*[^\p{{Cc}}\p{{Z}}{_UNSEEN}])?$"
)
_LINE = r"^[^\p{Cc}\p{Zl}\p{Zp}]*$"

Id = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=128, pattern=_ID)]
Line = Annotated[str, StringConstraints(strict=True, max_length=1_000, pattern=_LINE)]
ContentType = Annotated[
    str,
    StringConstraints(
        strict=True,
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
    ),
]
AttributeValue = Annotated[
    str, StringConstraints(strict=True, max_length=4_096, pattern=r"^[^\x00]*$")
]
RawAddress = Annotated[str, StringConstraints(strict=True, max_length=1_000)]
RequestId = Annotated[UUID, BeforeValidator(_request_id)]
Instant = Annotated[int, BeforeValidator(_instant)]


class _Event(BaseModel):
    """Strict: no field unknown, no text for a number, nothing changed afterwards."""

    _TOO_MANY: ClassVar[Reason] = Reason.INVALID_EVENT

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        validate_by_alias=True,
        validate_by_name=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, value: object) -> object:
        """A field that is null is absent: many writers have no other way to leave one out."""
        if not isinstance(value, dict):
            return value
        # Each unknown field would become an error of its own: a hundred times its size.
        if len(value) > MAX_FIELDS:
            raise _refuse(cls._TOO_MANY, f"more than {MAX_FIELDS} fields")
        if None not in value.values():
            return value
        known = _names(cls)
        return {k: v for k, v in value.items() if v is not None or k not in known}


@cache
def _names(model: type[BaseModel]) -> frozenset[str]:
    """What the fields of an event are called where it is written."""
    return frozenset(field.alias or name for name, field in model.model_fields.items())


class Message(_Event):
    """What is to be sent; SAEC never looks inside."""

    _TOO_MANY = Reason.INVALID_MESSAGE

    subject: Line | None = None
    body: bytes = Field(repr=False)
    content_type: ContentType
    attributes: Annotated[dict[Id, AttributeValue], BeforeValidator(_attributes)] = Field(
        default_factory=dict, repr=False
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        # 4 bytes cover the length before each text
        parts = [self.subject or "", self.content_type, *self.attributes, *self.attributes.values()]
        size = len(self.body) + sum(len(part.encode()) + 4 for part in parts) + 16
        if size > MAX_MESSAGE_BYTES:
            raise _refuse(Reason.INVALID_MESSAGE, "larger than 900,000 bytes")
        return self


class ScheduleRequested(_Event):
    """Send this message to these customers by these channels at this instant."""

    id: RequestId
    requester: Id
    campaign_id: Id | None = None
    channels: Annotated[tuple[Channel, ...], BeforeValidator(_channels)]
    customers: Annotated[tuple[Id, ...], Field(fail_fast=True), BeforeValidator(_customers)] = ()
    due_at_ms: Instant = Field(alias="due_at")
    expires_at_ms: Instant | None = Field(default=None, alias="expires_at")
    lane: Annotated[Lane, Field(strict=False)] = Field(default=None, validate_default=True)
    message: Message

    @field_validator("lane", mode="before")
    @classmethod
    def _default_lane(cls, value: object, info: ValidationInfo) -> object:
        if value is not None:
            return value
        return Lane.TRANSACTIONAL if len(info.data.get("customers", ())) <= 1 else Lane.CAMPAIGN

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.channels:
            raise _refuse(Reason.INVALID_EVENT, "channels: none")
        only_push = self.channels == (Channel.PUSH,)
        if only_push and self.customers:
            raise _refuse(Reason.INVALID_CUSTOMERS, "customers: some, but PUSH goes to everyone")
        if not only_push and not self.customers:
            raise _refuse(Reason.INVALID_CUSTOMERS, "customers: none")
        if self.expires_at_ms is not None and self.expires_at_ms <= self.due_at_ms:
            raise _refuse(Reason.EXPIRES_BEFORE_DUE, _expires_when(self.expires_at_ms))
        return self


def _expires_when(expires_at_ms: int) -> str:
    if expires_at_ms < FIRST_PLAUSIBLE_MS:
        return "expires_at: of the early 1970s; a number counts milliseconds, not seconds"
    return "expires_at: not after due_at"


class CancelRequested(_Event):
    """Stop what has not left yet of the request with this id."""

    id: RequestId
    requester: Id


class CustomerRegistered(_Event):
    """What somebody says of a customer; None: nothing of it. Addresses are as they were written.

    An empty address clears the registered one, an empty set of channels clears the opt-outs.
    """

    id: Id
    name: Line | None = Field(default=None, repr=False)
    email: RawAddress | None = Field(default=None, repr=False)
    phone: RawAddress | None = Field(default=None, repr=False)
    opted_out: frozenset[Channel] | None = None

    @field_validator("opted_out", mode="before")
    @classmethod
    def _opted_out(cls, value: object) -> object:
        return frozenset(_channels(value))


class CustomerErased(_Event):
    """Forget this customer."""

    id: Id
