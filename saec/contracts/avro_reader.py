"""Avro's binary encoding, read as its schema says and not otherwise.

A general decoder is slower, and lets more pass: a negative index of an enum or of a union, counted
from the end as Python does with lists, or a map that names a key twice. Invariant: nothing of this
passes here. Arrays and maps may come in blocks, with or without their sizes, as the specification
allows.
"""

from collections.abc import Callable
from struct import Struct
from typing import Any

Read = Callable[[bytes, int], tuple[Any, int]]
"""Reads what stands at a place in a value; returns it, and the place behind it.

Raises ValueError or IndexError where there is no such thing.
"""

_MOST_BITS = 70  # of a varint: seven in each of ten bytes
_NOT_SMALL = 0x81  # of a varint's first byte: more follow, or it is negative


def reader(schema: dict[str, Any]) -> Read:
    """What reads a value of a schema parsed by fastavro."""
    return _reader(schema, schema.get("__named_schemas", {}))


def _reader(schema: Any, named: dict[str, Any]) -> Read:
    if isinstance(schema, str) and schema in named:
        schema = named[schema]
    if isinstance(schema, list):
        return _one_of([_reader(branch, named) for branch in schema])
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind in _PRIMITIVES:
        return _PRIMITIVES[kind]
    return _COMPLEX[kind](schema, named)


def _record(schema: dict[str, Any], named: dict[str, Any]) -> Read:
    fields = [(field["name"], _reader(field["type"], named)) for field in schema["fields"]]

    def read(value: bytes, at: int) -> tuple[Any, int]:
        record = {}
        for name, field in fields:
            record[name], at = field(value, at)
        return record, at

    return read


def _array(schema: dict[str, Any], named: dict[str, Any]) -> Read:
    item = _reader(schema["items"], named)

    def read(value: bytes, at: int) -> tuple[Any, int]:
        items = []
        count, at = _block(value, at)
        while count:
            for _ in range(count):
                one, at = item(value, at)
                items.append(one)
            count, at = _block(value, at)
        return items, at

    return read


def _map(schema: dict[str, Any], named: dict[str, Any]) -> Read:
    item = _reader(schema["values"], named)

    def read(value: bytes, at: int) -> tuple[Any, int]:
        items: dict[str, Any] = {}
        count, at = _block(value, at)
        while count:
            for _ in range(count):
                key, at = _text(value, at)
                if key in items:
                    raise ValueError("a key is given twice")
                items[key], at = item(value, at)
            count, at = _block(value, at)
        return items, at

    return read


def _one_of(branches: list[Read]) -> Read:
    def read(value: bytes, at: int) -> tuple[Any, int]:
        index, at = _size(value, at)
        return branches[index](value, at)

    return read


def _enum(schema: dict[str, Any], _named: dict[str, Any]) -> Read:
    symbols = schema["symbols"]

    def read(value: bytes, at: int) -> tuple[Any, int]:
        index, at = _size(value, at)
        return symbols[index], at

    return read


def _fixed(schema: dict[str, Any], _named: dict[str, Any]) -> Read:
    size = schema["size"]
    return lambda value, at: _cut(value, at, size)


def _number(format_: str) -> Read:
    number = Struct(format_)

    def read(value: bytes, at: int) -> tuple[Any, int]:
        raw, at = _cut(value, at, number.size)
        return number.unpack(raw)[0], at

    return read


def _text(value: bytes, at: int) -> tuple[str, int]:
    raw, at = _bytes(value, at)
    return raw.decode(), at


def _bytes(value: bytes, at: int) -> tuple[bytes, int]:
    size, at = _size(value, at)
    return _cut(value, at, size)


def _cut(value: bytes, at: int, size: int) -> tuple[bytes, int]:
    end = at + size
    if end > len(value):
        raise ValueError("longer than the value")
    return value[at:end], end


def _block(value: bytes, at: int) -> tuple[int, int]:
    """How many items the next block of an array or a map has."""
    count, at = _long(value, at)
    if count >= 0:
        return count, at
    _, at = _long(value, at)  # its size in bytes
    return -count, at


def _size(value: bytes, at: int) -> tuple[int, int]:
    """A length or an index."""
    byte = value[at]
    if not byte & _NOT_SMALL:  # nearly always
        return byte >> 1, at + 1
    size, at = _long(value, at)
    if size < 0:
        raise ValueError("a negative length or index")
    return size, at


def _long(value: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint."""
    byte = value[at]
    if byte < 0x80:  # nearly always
        return (byte >> 1) ^ -(byte & 1), at + 1
    zigzag, shift = byte & 0x7F, 7
    while byte >= 0x80 and shift < _MOST_BITS:
        at += 1
        byte = value[at]
        zigzag |= (byte & 0x7F) << shift
        shift += 7
    if byte >= 0x80 or zigzag >> 64:
        raise ValueError("a number of more than 64 bits")
    return (zigzag >> 1) ^ -(zigzag & 1), at + 1


_PRIMITIVES: dict[str, Read] = {
    "null": lambda _, at: (None, at),
    "boolean": _number("?"),
    "int": _long,
    "long": _long,
    "float": _number("<f"),
    "double": _number("<d"),
    "string": _text,
    "bytes": _bytes,
}
_COMPLEX: dict[str, Callable[[dict[str, Any], dict[str, Any]], Read]] = {
    "record": _record,
    "array": _array,
    "map": _map,
    "enum": _enum,
    "fixed": _fixed,
}
