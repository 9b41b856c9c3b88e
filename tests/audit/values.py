"""Records as somebody else might write them: the same meaning in another form, or none at all."""

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from saec.contracts import avro, varint

Encoder = Callable[[Any, Any], bytes]


def awkward(name: str, record: Mapping[str, Any], *, sized: bool, overlong: bool) -> bytes:
    """A value as the Avro specification allows it and nobody writes it.

    A block for each item, with its size in bytes if `sized`, and numbers in a byte too many if
    `overlong`.
    """
    schema = avro.load(name)
    writer = _Awkward(schema.get("__named_schemas", {}), sized=sized, overlong=overlong)
    return avro.prefix(name) + writer.write(schema, record)


class _Awkward:
    def __init__(self, named: Mapping[str, Any], *, sized: bool, overlong: bool) -> None:
        self._named = named
        self._sized = sized
        self._overlong = overlong

    def write(self, schema: Any, value: Any) -> bytes:
        """One value of a schema."""
        if isinstance(schema, list):
            branch = 0 if value is None else 1
            return self._long(branch) + self.write(schema[branch], value)
        kind = schema["type"] if isinstance(schema, dict) else schema
        if kind in {"record", "array", "map", "enum", "fixed"}:
            return self._complex(kind, schema, value)
        if isinstance(schema, str) and schema in self._named:
            return self.write(self._named[schema], value)
        return self._primitive(kind, value)

    def _primitive(self, kind: str, value: Any) -> bytes:
        if kind == "null":
            return b""
        if kind in {"int", "long"}:
            return self._long(value)
        raw = value.encode() if isinstance(value, str) else value
        return self._long(len(raw)) + bytes(raw)

    def _complex(self, kind: str, schema: Any, value: Any) -> bytes:
        if kind == "record":
            return b"".join(
                self.write(field["type"], value[field["name"]]) for field in schema["fields"]
            )
        if kind == "fixed":
            return bytes(value)
        if kind == "enum":
            return self._long(schema["symbols"].index(value))
        if kind == "map":
            return self._blocks(
                self.write("string", key) + self.write(schema["values"], one)
                for key, one in value.items()
            )
        return self._blocks(self.write(schema["items"], one) for one in value)

    def _blocks(self, items: Any) -> bytes:
        found = b""
        for item in items:
            found += self._long(-1) + self._long(len(item)) if self._sized else self._long(1)
            found += item
        return found + b"\x00"

    def _long(self, value: int) -> bytes:
        raw = varint.long(value)
        if not self._overlong or len(raw) > 9:
            return raw
        return raw[:-1] + bytes([raw[-1] | 0x80, 0])


@st.composite
def spoiled(draw: st.DrawFn, values: st.SearchStrategy[bytes]) -> bytes:
    """A value with something wrong in one or two places."""
    value = draw(values)
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, max(len(value) - 1, 0)))
        raw = draw(st.binary(min_size=1, max_size=11) | st.sampled_from(_NUMBERS))
        value = draw(
            st.sampled_from(
                [
                    value[:at],
                    value + raw,
                    value[:at] + raw + value[at:],
                    value[:at] + raw + value[at + 1 :],
                    value[:at] + raw + value[at + len(raw) :],
                    value[:at] + value[at + len(raw) :],
                ]
            )
        )
    return value


# Numbers at their bounds, beyond them, and in a byte too many; a byte that is no UTF-8.
_NUMBERS = [
    *(varint.long(number) for number in (-1, 2**31, -(2**31) - 1, 2**62, 2**63 - 1, -(2**63))),
    b"\xff" * 9 + b"\x01",
    b"\xff" * 9 + b"\x02",
    b"\xff" * 9 + b"\x7f",
    b"\xff" * 10,
    b"\x80\x00",
    b"\x80",
    b"\xff",
]
