"""Values that are no event: not JSON, not Avro, or no sound JSON object."""

import base64
import bz2
import gzip
import json
import zlib
from collections.abc import Iterator

from saec.contracts import avro, varint
from saec.errors import Reason
from tests.hostile.case import DUE_MS, MAX_BYTES, SECRET, Case, good, good_avro, request_id


def unreadable() -> Iterator[Case]:
    some = good("unreadable")
    empty, not_utf8 = Reason.EMPTY_VALUE, Reason.NOT_UTF8
    no_json, no_avro = Reason.INVALID_JSON, Reason.INVALID_AVRO
    yield Case("null value", None, empty)
    yield Case("empty value", b"", empty)
    yield Case("whitespace", b" \t\r\n", no_json, hint="whitespace")
    yield Case("latin-1", f'{{"a": "é{SECRET}"}}'.encode("latin-1"), not_utf8)
    yield Case("overlong UTF-8", b'{"a": "\xc0\xaf"}', not_utf8)
    yield Case("surrogate in UTF-8", b'{"a": "\xed\xa0\x80"}', not_utf8)
    yield Case("byte order mark", b"\xef\xbb\xbf" + some, no_json, hint="byte order mark")
    yield Case("UTF-16", some.decode().encode("utf-16"), not_utf8, hint="UTF-16")
    yield Case("UTF-16 without a mark", b"{\x00}\x00", no_json, hint="UTF-16")
    yield Case("UTF-16 big endian", b"\x00{\x00}", no_json, hint="UTF-16")
    yield Case("UTF-32", "{}".encode("utf-32"), not_utf8, hint="UTF-16")
    for at in (1, 20, len(some) // 2, len(some) - 1):
        yield Case(f"truncated JSON at {at}", some[:at], no_json)
    yield Case("trailing garbage", some + b"}", no_json)
    yield Case("two values", some + some, no_json)
    yield Case("trailing NUL", some + b"\x00", no_json)
    yield Case("single quotes", b"{'a': 1}", no_json)
    yield Case("trailing comma", b'{"a": 1,}', no_json)
    yield Case("comment", b'{"a": 1 /* b */}', no_json)
    yield Case("control character in a text", b'{"a": "b\nc"}', no_json)
    yield Case("over size", b" " * (MAX_BYTES + 1), Reason.VALUE_TOO_LARGE)
    yield Case(
        "over size, but valid",
        good("over size, but valid") + b" " * MAX_BYTES,
        Reason.VALUE_TOO_LARGE,
    )
    yield Case("gzip", gzip.compress(some, mtime=0), not_utf8, hint="gzip")
    yield Case("zlib", zlib.compress(some), not_utf8)
    yield Case("bzip2", bz2.compress(some), not_utf8)
    yield Case("zstd", b"\x28\xb5\x2f\xfd\x04\x00\x09", not_utf8, hint="zstd")
    yield Case("lz4", b"\x04\x22\x4d\x18\x40\x40", no_json, hint="lz4")
    yield Case("base64 of it", base64.b64encode(some), no_json)
    yield Case("it as a text", json.dumps(some.decode()).encode(), Reason.INVALID_EVENT)
    yield Case("wrong magic", b"\xc3\x02" + bytes(40), not_utf8, hint="another marker")
    yield Case("registry's wire format", b"\x00\x00\x00\x00\x07ab", no_json, hint="registry")
    yield Case("Avro file", b"Obj\x01" + bytes(40), no_json, hint="Avro file")
    yield Case("unknown fingerprint", b"\xc3\x01" + bytes(40), Reason.UNKNOWN_SCHEMA)
    yield Case("marker alone", b"\xc3\x01", no_avro)
    yield Case("truncated Avro", good_avro("truncated Avro")[:-3], no_avro)
    yield Case("bytes behind Avro", good_avro("bytes behind Avro") + b"\x00", no_avro)
    yield Case("huge Avro block", _up_to_channels() + varint.long(2**62), no_avro)
    yield Case("negative Avro enum", _avro_channel(-1), no_avro)
    yield Case("Avro enum beyond its end", _avro_channel(9), no_avro)
    yield Case("Avro key twice", _avro_key_twice(), no_avro)
    yield Case("Avro of another topic", _avro_customer(), Reason.UNKNOWN_EVENT_TYPE)


def _up_to_channels() -> bytes:
    head = varint.text(str(request_id("avro"))) + varint.text("tests") + b"\x00"
    return avro.prefix("schedule_requested") + head


def _avro_channel(index: int) -> bytes:
    """A PUSH, but for the index of its channel."""
    channels = varint.long(1) + varint.long(index) + b"\x00"
    message = b"\x00" + varint.text("x") + varint.text("a/b") + b"\x00"
    return _up_to_channels() + channels + b"\x00" + varint.long(DUE_MS) + b"\x00\x00" + message


def _avro_key_twice() -> bytes:
    twice = varint.long(2) + (varint.text("a") + varint.text("b")) * 2 + b"\x00"
    return good_avro("Avro key twice")[:-1] + twice


def _avro_customer() -> bytes:
    nothing: dict[str, object] = {"name": None, "email": None, "phone": None, "opted_out": []}
    return avro.encode_single("customer_registered", {"id": "42", **nothing})


def odd_json() -> Iterator[Case]:
    no_json, no_event = Reason.INVALID_JSON, Reason.INVALID_EVENT
    for root in (b"[]", b"42", b'"42"', b"true", b"null", b"1e400"):
        yield Case(f"root {root.decode()}", root, no_event)
    name = "duplicate keys"
    yield Case(name, good(name)[:-1] + b', "requester": "b"}', no_json)
    yield Case("duplicate id", b'{"id": "a", "id": "a"}', no_json)
    for number in ("NaN", "Infinity", "-Infinity"):
        yield Case(number, good(number).replace(str(DUE_MS).encode(), number.encode()), no_json)
    name = "1e400"
    instead = good(name).replace(str(DUE_MS).encode(), b"1e400")
    yield Case(name, instead, Reason.INVALID_INSTANT, names_request=True)
    yield Case("integer of 5,000 digits", b'{"due_at": ' + b"9" * 5_000 + b"}", no_json)
    yield Case("fraction of 5,000 digits", b'{"due_at": 0.' + b"9" * 5_000 + b"}", no_json)
    yield Case("lists 100,000 deep", b"[" * 100_000 + b"]" * 100_000, no_json)
    yield Case("objects 100,000 deep", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, no_json)
    yield Case("100,000 deep, and open", b"[" * 100_000, no_json)
    name = "five deep"
    yield Case(name, good(name, campaign_id=[[[[1]]]]), no_json)
    many = b",".join(b'"%d":0' % number for number in range(90_000))
    name = "90,000 keys"
    yield Case(name, good(name)[:-1] + b"," + many + b"}", no_event, names_request=True)
    yield Case("a million keys", b'{"a":0' + b',"a":0' * 999_999 + b"}", Reason.VALUE_TOO_LARGE)
    name = "U+0000 in the body"
    value = good(name, message={"body": "a\x00b", "content_type": "a/b"})
    yield Case(name, value, Reason.INVALID_MESSAGE, names_request=True)
    name = "U+0000 in the requester"
    yield Case(name, good(name, requester="a\x00"), no_event, names_request=True)
    name = "U+0000 in a customer"
    yield Case(name, good(name, customers=["4\x002"]), Reason.INVALID_CUSTOMERS, names_request=True)
    yield Case("lone surrogate", b'{"a": "\\ud800"}', no_json)
    yield Case("lone surrogate in a name", b'{"\\udc00": 1}', no_json)
    yield Case("surrogates the wrong way round", b'{"a": "\\udc00\\ud800"}', no_json)
