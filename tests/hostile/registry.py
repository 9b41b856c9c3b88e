"""Records of the customers topic."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from saec.errors import Reason
from tests.hostile.case import SECRET, Case, customer, good, rejected, text


def customers() -> Iterator[Case]:
    def of(id_: str, reason: Reason, **fields: Any) -> Case:
        return Case(id_, customer(id_, **fields), reason, key=id_.encode())

    def kept_out(id_: str, *reasons: Reason, **fields: Any) -> Case:
        answer = tuple(rejected(reason) for reason in reasons)
        return Case(id_, customer(id_, **fields), None, answer, key=id_.encode())

    email, phone = Reason.INVALID_EMAIL, Reason.INVALID_PHONE
    yield kept_out("email CR LF", email, email=f"{SECRET}@example.com\r\nBcc: b@example.com")
    yield kept_out("email LF at the end", email, email="ana@example.com\n")
    yield kept_out("email NUL", email, email="ana\x00@example.com")
    yield kept_out("email of no kind", email, email=SECRET)
    yield kept_out("email two", email, email="a@example.com, b@example.com")
    yield kept_out("email with a name", email, email="Ana <ana@example.com>")
    yield kept_out("email long", email, email="a" * 900 + "@example.com")
    yield kept_out("phone CR LF", phone, phone="+5511987654321\r\nATD")
    yield kept_out("phone LF", phone, phone="+5511987654321\n")
    yield kept_out("phone NUL", phone, phone="+55119\x0087654321")
    yield kept_out("phone of letters", phone, phone=SECRET)
    yield kept_out("phone long", phone, phone="9" * 900)
    yield kept_out("phone of other digits", phone, phone="+٥٥١١٩٨٧٦٥٤٣٢١")
    yield kept_out("both", email, phone, email=SECRET, phone=SECRET)
    yield kept_out("nothing at all")
    yield kept_out("opted out null", opted_out=None, email=None)
    yield of("name CR LF", Reason.INVALID_EVENT, name=f"{SECRET}\r\nx")
    yield of("email a number", Reason.INVALID_EVENT, email=42)
    yield of("phone a number", Reason.INVALID_EVENT, phone=5511987654321)
    yield of("phone true", Reason.INVALID_EVENT, phone=True)
    yield of("email very long", Reason.INVALID_EVENT, email="a" * 100_000)
    yield of("more fields", Reason.INVALID_EVENT, cpf=SECRET)
    yield of("opted out of what", Reason.UNKNOWN_CHANNEL, opted_out=[SECRET])
    yield Case("empty value", b"", Reason.EMPTY_VALUE, key=b"empty value")
    yield Case("id is a number", text(_registration(42)), Reason.INVALID_ID, key=b"42")
    yield Case("id is missing", text(_registration(...)), Reason.INVALID_ID, key=b"42")
    yield Case("id CR LF", customer("4\r\n2"), Reason.INVALID_ID, key=b"4\r\n2")
    hidden = "4\u200d2"
    yield Case("id with what is not seen", customer(hidden), Reason.INVALID_ID, key=hidden.encode())
    yield Case("id long", customer("4" * 129), Reason.INVALID_ID, key=b"4" * 129)
    mismatch = Reason.KEY_MISMATCH
    yield Case("key empty", customer("key"), mismatch, key=b"")
    yield Case("key of another", customer("key"), mismatch, key=b"43")
    yield Case("key with a space", customer("key"), mismatch, key=b"key ")
    yield Case("key huge", customer("key"), mismatch, key=b"k" * 900_000)
    yield Case("key no UTF-8", customer("key"), mismatch, key=b"\xff")
    yield Case("no JSON", SECRET.encode(), Reason.INVALID_JSON, key=b"no JSON")
    yield Case("request", good("request"), Reason.UNKNOWN_EVENT_TYPE, key=b"request")
    yield from keys()
    name = "timestamp of 9999"
    yield replace(kept_out(name), timestamp_ms=253_402_300_799_999)


def keys() -> Iterator[Case]:
    yield Case("erasure with a huge key", None, Reason.INVALID_ID, key=b"k" * 900_000)
    nobody = (rejected(Reason.UNKNOWN_CUSTOMER),)
    yield Case("erasure of nobody", None, None, nobody, key=b"nobody")
    yield Case("erasure of an accent apart", None, None, nobody, key="joa\u0303o".encode())
    yield Case("erasure by JSON", None, Reason.INVALID_ID, key=b'"nobody"', hint="quotation marks")
    yield Case("registration by JSON", customer("key"), Reason.INVALID_ID, key=b'"key"')
    yield Case("erasure by a long", None, Reason.INVALID_ID, key=bytes(7) + b"*", hint="binary")
    yield Case(
        "key in another Unicode form",
        customer("jo\u00e3o"),
        Reason.KEY_MISMATCH,
        key="joa\u0303o".encode(),
        hint="Unicode form",
    )


def _registration(id_: object) -> dict[str, Any]:
    event = {"type": "saec.v1.CustomerRegistered", "id": id_}
    return {k: v for k, v in event.items() if v is not ...}
