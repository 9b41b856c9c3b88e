"""Avro's primitive encodings, as bytes to splice: faster than a general encoder.

Invariant: equal, byte for byte, to what an Avro encoder writes (tested against fastavro).
"""

from functools import lru_cache


def long(value: int) -> bytes:
    """An Avro int or long: zigzag, then seven bits a byte, lowest first."""
    if 0 <= value < _CACHED:
        return _SMALL[value]
    return _long(value)


def text(value: str) -> bytes:
    """An Avro string."""
    encoded = value.encode()
    return long(len(encoded)) + encoded


def optional_text(value: str | None) -> bytes:
    """An Avro union of null and string, in this order."""
    if value is None:
        return b"\x00"
    encoded = value.encode()
    return b"\x02" + long(len(encoded)) + encoded


def optional_long(value: int | None) -> bytes:
    """An Avro union of null and long, in this order."""
    return b"\x00" if value is None else b"\x02" + long(value)


@lru_cache(maxsize=4_096)  # the instants of a batch come again and again
def _long(value: int) -> bytes:
    zigzag = value << 1 if value >= 0 else (-value << 1) - 1
    if zigzag >> 64:
        raise OverflowError("not a 64-bit number")
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


_CACHED = 1_024
_SMALL = tuple(_long(value) for value in range(_CACHED))
