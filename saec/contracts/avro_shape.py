"""Whether bytes are really what their Avro schema says.

The decoder that SAEC uses takes a negative index of an enum or of a union from the end, as Python
does with lists, and lets a map name a key twice. Invariant: what passes here has neither; it may
write arrays and maps in blocks, with or without their sizes, as the specification allows.
"""

from typing import Any

_LONGEST_VARINT = 10
_SIZES = {"null": 0, "boolean": 1, "float": 4, "double": 8}


def fits(schema: dict[str, Any], value: bytes, start: int) -> bool:
    """Whether `value` is, from `start` to its end, what a schema parsed by fastavro describes."""
    walk = _Walk(value, start, schema.get("__named_schemas", {}))
    try:
        walk.over(schema)
    except (ValueError, IndexError):
        return False
    return walk.at == len(value)


class _Walk:
    """A place in a value. Each step raises ValueError or IndexError where the value is not so."""

    def __init__(self, value: bytes, at: int, named: dict[str, Any]) -> None:
        self.at = at
        self._value = value
        self._named = named
        self._steps = {
            "int": lambda _: self._long(),
            "long": lambda _: self._long(),
            "string": lambda _: self._text(),
            "bytes": lambda _: self._text(),
            "fixed": lambda schema: self._pass(schema["size"]),
            "enum": lambda schema: self._index(schema["symbols"]),
            "record": self._record,
            "array": self._array,
            "map": self._map,
        }

    def over(self, schema: Any) -> None:
        """Go behind what `schema` describes."""
        if isinstance(schema, str) and schema in self._named:
            schema = self._named[schema]
        if isinstance(schema, list):
            self.over(self._index(schema))
            return
        kind = schema["type"] if isinstance(schema, dict) else schema
        if kind in _SIZES:
            self._pass(_SIZES[kind])
        else:
            self._steps[kind](schema)

    def _record(self, schema: Any) -> None:
        for field in schema["fields"]:
            self.over(field["type"])

    def _array(self, schema: Any) -> None:
        while count := self._block():
            for _ in range(count):
                self.over(schema["items"])

    def _map(self, schema: Any) -> None:
        keys = set()
        while count := self._block():
            for _ in range(count):
                key = self._text()
                if key in keys:
                    raise ValueError("a key is given twice")
                keys.add(key)
                self.over(schema["values"])

    def _block(self) -> int:
        count = self._long()
        if count < 0:
            self._long()  # its size in bytes
        return abs(count)

    def _index(self, known: list[Any]) -> Any:
        index = self._long()
        if index < 0:
            raise ValueError("an index of nothing")
        return known[index]

    def _text(self) -> bytes:
        size = self._long()
        if size < 0:
            raise ValueError("a negative length")
        start = self.at
        self._pass(size)
        return self._value[start : self.at]

    def _pass(self, size: int) -> None:
        self.at += size
        if self.at > len(self._value):
            raise ValueError("longer than the value")

    def _long(self) -> int:
        """A zigzag varint."""
        zigzag = 0
        for shift in range(_LONGEST_VARINT):
            byte = self._value[self.at]
            self.at += 1
            zigzag |= (byte & 0x7F) << (7 * shift)
            if byte < 0x80:
                return (zigzag >> 1) ^ -(zigzag & 1)
        raise ValueError("a number of more than 64 bits")
