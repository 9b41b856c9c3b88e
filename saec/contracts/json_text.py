"""JSON as RFC 8259 means it, and no more.

Invariant: what Python's parser lets pass beyond that (NaN, duplicate keys, lone surrogates,
numbers and nesting without bound) is refused, with the same reason however deep the stack is.
"""

import json
import re
from typing import Any, NoReturn

from saec.contracts.rejected import RejectedError
from saec.errors import Reason

MAX_DEPTH = 4
"""An event, its message, its attributes, and one for good measure."""

MAX_NUMBER_CHARS = 32

_LONG = re.compile(rf"[0-9.eE+-]{{{MAX_NUMBER_CHARS + 1}}}")
# Also one that does not end: else each quotation mark in it would be tried.
_TEXTS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)

_BEGINNINGS = (
    (b"\xef\xbb\xbf", "UTF-8 with a byte order mark"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"{\x00", "UTF-16"),
    (b"\x00{", "UTF-16"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x00", "the wire format of a schema registry"),
    (b"\xc3\x00", "Avro single-object encoding with another marker"),
    (b"\xc3\x02", "Avro single-object encoding with another marker"),
    (b"Obj\x01", "an Avro file"),
)
"""First bytes that are no JSON, and what usually begins with them."""


def parse_object(value: bytes) -> dict[str, Any]:
    """The JSON object in `value`. Raises RejectedError: NOT_UTF8, INVALID_JSON, INVALID_EVENT."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise RejectedError(Reason.NOT_UTF8, f"the value is not UTF-8{looks_like(value)}") from None
    parsed = _parse(text, value)
    if text.count("{") + text.count("[") > MAX_DEPTH and _deeper_than(parsed, MAX_DEPTH):
        raise _too_deep()
    if "\\u" in text:
        _refuse_surrogates(parsed)
    if not isinstance(parsed, dict):
        raise RejectedError(Reason.INVALID_EVENT, "not a JSON object")
    return parsed


def _parse(text: str, value: bytes) -> object:
    _refuse_long_numbers(text)
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise RejectedError(
            Reason.INVALID_JSON, f"the value is not JSON{looks_like(value)}"
        ) from None


def looks_like(value: bytes) -> str:
    """What else the value may be, for whoever reads the refusal; empty if nothing is known."""
    if value.isspace():
        return ": nothing but whitespace"
    for start, meaning in _BEGINNINGS:
        if value.startswith(start):
            return f": it begins like {meaning}"
    if _is_binary(value):
        return ": it is binary; of Avro only single-object encoding is read"
    return ""


def _is_binary(value: bytes) -> bool:
    """Whether there are control characters that no text has, as in Avro's lengths."""
    return any(byte < 0x20 and byte not in b"\t\n\r" for byte in value[:64])


def _too_deep() -> RejectedError:
    return RejectedError(Reason.INVALID_JSON, f"nested more than {MAX_DEPTH} levels")


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise RejectedError(Reason.INVALID_JSON, "a field is given twice")
    return fields


def _refuse_constant(_: str) -> NoReturn:
    raise RejectedError(Reason.INVALID_JSON, "NaN and Infinity are not JSON")


def _refuse_long_numbers(text: str) -> None:
    """Before they are read: a call for each number costs more than all the rest of a large value.

    What stands in a text is no number, however it looks.
    """
    if _LONG.search(text) is not None and _LONG.search(_TEXTS.sub('""', text)) is not None:
        raise RejectedError(Reason.INVALID_JSON, "a number is too long")


def _deeper_than(parsed: object, depth: int) -> bool:
    level = [parsed]
    for _ in range(depth):
        level = [child for node in level for child in _children(node)]
    return any(isinstance(node, dict | list) for node in level)


def _children(node: object) -> list[Any]:
    """The containers right inside a container."""
    items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [item for item in items if isinstance(item, dict | list)]


def _refuse_surrogates(parsed: object) -> None:
    """Half a surrogate pair, written as an escape, is no text: it has no UTF-8."""
    try:
        json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise RejectedError(Reason.INVALID_JSON, "half a surrogate pair") from None


# Made once: making it costs as much as reading a small event.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_no_doubles,
    parse_constant=_refuse_constant,
)
