"""What the fuzzer calls with any bytes, and the suite with those that were kept.

Invariant: `check` returns, or an invariant of the decoder is broken.
"""

from contextlib import suppress

from saec.contracts.decode import RejectedError, decode_customer, decode_request
from saec.contracts.dispatch import encode_message
from saec.contracts.events import MAX_MESSAGE_BYTES, ScheduleRequested
from saec.contracts.headers import CopiedHeaders, traceparent
from saec.ingest import addresses
from saec.ingest.slices import cut

MAX_BYTES = 1_000_000

_HEADERS: tuple[CopiedHeaders, ...] = (
    (),
    (("content-type", b"application/json"),),
    (("content-type", b"application/avro"),),
)
_KEY_BYTES = 2


def check(data: bytes) -> None:
    """Read `data` as a record: its first byte chooses the topic and the headers."""
    choice, value = (data[0], data[1:]) if data else (0, b"")
    headers = _HEADERS[choice % len(_HEADERS)]
    try:
        if choice < 128:
            _check_request(value, headers)
        else:
            _check_customer(value[:_KEY_BYTES], value[_KEY_BYTES:], headers)
    except RejectedError as refused:
        if len(refused.detail) > 200:
            raise AssertionError("a detail without bound") from refused
    traceparent([("traceparent", value)])


def _check_request(value: bytes, headers: CopiedHeaders) -> None:
    event = decode_request(value, headers, MAX_BYTES)
    if not isinstance(event, ScheduleRequested):
        return
    if len(encode_message(event.message)) > MAX_MESSAGE_BYTES:
        raise AssertionError("a message that no batch can hold")
    slices = cut(event, shards=16, most_recipients=2, traceparent=None)
    if sorted(c for s in slices for c in s.customers) != sorted(event.customers):
        raise AssertionError("a customer was lost or doubled")


def _check_customer(key: bytes, value: bytes, headers: CopiedHeaders) -> None:
    event = decode_customer(key, value, headers, MAX_BYTES)
    email, phone = getattr(event, "email", None), getattr(event, "phone", None)
    for check, text in ((addresses.email, email or ""), (addresses.phone, phone or "")):
        with suppress(addresses.AddressError):
            if not check(text).isprintable():
                raise AssertionError("an address with control characters")
