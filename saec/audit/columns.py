"""Avro values read side by side: a field of ten thousand values at a time, not value by value.

Invariant: a value that is read otherwise than the general decoder would read it is not `plain`; the
caller then asks the general decoder. What is not plain is never trusted, and never an error.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Longs = NDArray[np.int64]
Flags = NDArray[np.bool_]
Octets = NDArray[np.uint8]

# Behind the last value, so that what reads a little too far reads zeros and is found out later.
_PADDING = bytes(64)
_INLINE_BYTES = 12
_UUID_CHARS, _HYPHEN, _NO_DIGIT = 36, ord("-"), 255
_HYPHENS = [8, 13, 18, 23]
_HEXADECIMAL = [place for place in range(_UUID_CHARS) if place not in _HYPHENS]
_DIGIT = np.full(256, _NO_DIGIT, np.uint8)
_DIGIT[list(b"0123456789abcdef")] = range(16)
_NOT_SMALL = 0x81  # of a varint's first byte: more follow, or it is negative
_MOST_SHIFT = 63  # of a varint's seven bits; the tenth byte holds one


Field = Callable[[bytes, int, int], tuple[Any, int]]
"""Reads a field of a record at a place, before an end; returns it and the place behind."""


class Spans(NamedTuple):
    """Where each value's part stands in the common buffer; a size below 0 stands for null."""

    start: Longs
    size: Longs


class Lists(NamedTuple):
    """Parts of several for each value: those of value i are `offsets[i]` up to `offsets[i + 1]`."""

    offsets: Longs
    items: Spans


class Records(NamedTuple):
    """Records of several values: how many of each value; of all, the keys and the other fields."""

    counts: Longs
    keys: list[str]
    fields: tuple[list[Any], ...]


class Cursor:
    """Reads many Avro values at once, field by field.

    A value that ends too early, has a negative length, or writes a number in more bytes than it
    takes is marked in `plain`, and what is read of it from there on means nothing.
    """

    def __init__(self, values: Sequence[bytes | None]) -> None:
        """From the beginning of each; what is null is empty."""
        given = values if None not in values else [value or b"" for value in values]
        self.raw = b"".join([*given, _PADDING])  # type: ignore[list-item]
        self.data: Octets = np.frombuffer(self.raw, np.uint8)
        sizes = np.fromiter(map(len, given), np.int64, len(given))  # type: ignore[arg-type]
        self._end: Longs = np.cumsum(sizes)
        self._at: Longs = self._end - sizes
        self.plain: Flags = np.ones(len(given), np.bool_)

    def __len__(self) -> int:
        return len(self._at)

    def starting_with(self, prefix: bytes) -> NDArray[np.intp]:
        """Which values begin with these bytes."""
        size = len(prefix)
        same = (_first(self, self._at, size) == np.frombuffer(prefix, np.uint8)).all(axis=1)
        found: NDArray[np.intp] = np.flatnonzero(same & (self._at + size <= self._end))
        return found

    def place(self) -> Longs:
        """Where each value is read next."""
        return self._at

    def since(self, start: Longs) -> Spans:
        """From an earlier `place` up to here."""
        return Spans(start, self._at - start)

    def rest(self) -> Spans:
        """From here to the end of each value."""
        return Spans(self._at, self._end - self._at)

    def number(self) -> Longs:
        """An int, a long, a length or an index of each."""
        at, self._at = self._at, self._at + 1
        byte = self.data[at]
        bits = (byte & 0x7F).astype(np.uint64)
        longer = np.flatnonzero(byte & 0x80)
        if longer.size:
            self._longer(bits, longer)
        self._require(self._at <= self._end)
        zigzag: Longs = (bits >> np.uint64(1)).astype(np.int64)
        return zigzag ^ -(bits & np.uint64(1)).astype(np.int64)

    def text(self) -> Spans:
        """A string or bytes of each."""
        size = self.number()
        fits = (size >= 0) & (size <= self._end - self._at)
        self._require(fits)
        size = np.where(fits, size, 0)
        start, self._at = self._at, self._at + size
        return Spans(start, size)

    def fixed(self, size: int) -> None:
        """So many bytes of each, which nobody asks for."""
        self._at = self._at + size
        self._require(self._at <= self._end)

    def optional_text(self) -> Spans:
        """A union of null and a string."""
        rows = self._present()
        found = Spans(self._at.copy(), np.full(len(self._at), -1, np.int64))
        some = self.pick(rows)
        inner = some.text()
        found.start[rows], found.size[rows] = inner
        self._merge(rows, some)
        return found

    def optional_number(self) -> tuple[Longs, Flags]:
        """A union of null and a number: the numbers, and where there is none."""
        rows = self._present()
        found, absent = np.zeros(len(self._at), np.int64), np.ones(len(self._at), np.bool_)
        some = self.pick(rows)
        found[rows], absent[rows] = some.number(), False
        self._merge(rows, some)
        return found, absent

    def texts(self) -> Lists:
        """An array of strings of each, in one block, as encoders write it."""
        return self._lists(1)

    def texts_by_text(self) -> Lists:
        """A map of strings of each, in one block: keys and values in turn."""
        return self._lists(2)

    def numbers_by_text(self) -> list[dict[bytes, int]]:
        """A map of numbers of each, in one block."""
        found: list[dict[bytes, int]] = [{} for _ in self._at]
        for row, count, at, end in self._not_empty():
            try:
                found[row], self._at[row] = _numbers(self.raw, count, at, end)
            except ValueError:
                self._give_up(row)
        return found

    def records(self, key_bytes: int, fields: Sequence[Field]) -> Records:
        """An array of records of each: a fixed, as hexadecimal text, then these fields."""
        counts = np.zeros(len(self._at), np.int64)
        found = Records(counts, [], tuple([] for _ in fields))
        for row, count, at, end in self._not_empty():
            begun = len(found.keys)
            try:
                self._at[row] = _records(self.raw, (count, at, end), key_bytes, fields, found)
            except ValueError:
                for part in (found.keys, *found.fields):
                    del part[begun:]
                self._give_up(row)
            counts[row] = len(found.keys) - begun
        return found

    def choices(self, bit_of: Sequence[int]) -> Longs:
        """An array of an enum of each, as the set of its symbols' bits."""
        found = np.zeros(len(self._at), np.int64)
        for row, count, at, end in self._not_empty():
            try:
                found[row], self._at[row] = _set(self.raw, count, at, end, bit_of)
            except (ValueError, IndexError):
                self._give_up(row)
        return found

    def finish(self) -> Flags:
        """Which values were plain and are at their end."""
        self._require(self._at == self._end)
        return self.plain

    def _lists(self, each: int) -> Lists:
        """Read one by one: where an item stands depends on the one before."""
        starts: list[int] = []
        sizes: list[int] = []
        counts = np.zeros(len(self._at) + 1, np.int64)
        for row, count, at, end in self._not_empty():
            begun = len(starts)
            try:
                self._at[row] = _items(self.raw, count * each, at, end, starts, sizes)
                if each > 1:
                    _distinct(self.raw, starts[begun::each], sizes[begun::each])
            except ValueError:
                del starts[begun:], sizes[begun:]
                self._give_up(row)
            counts[row + 1] = len(starts) - begun
        items = Spans(np.array(starts, np.int64), np.array(sizes, np.int64))
        return Lists(np.cumsum(counts), items)

    def _not_empty(self) -> Iterator[tuple[int, int, int, int]]:
        """Row, items, place and end of those whose list has a first block."""
        count = self.number()
        self._require((count >= 0) & (count <= self._end - self._at))
        for row in np.flatnonzero(count > 0).tolist():
            if self.plain[row]:
                yield row, int(count[row]), int(self._at[row]), int(self._end[row])

    def _give_up(self, row: int) -> None:
        self.plain[row], self._at[row] = False, self._end[row]

    def _longer(self, bits: NDArray[np.uint64], rows: NDArray[np.intp]) -> None:
        """The further bytes of numbers."""
        shift = 7
        while rows.size and shift <= _MOST_SHIFT:
            byte = self.data[self._at[rows]]
            bits[rows] |= (byte & 0x7F).astype(np.uint64) << np.uint64(shift)
            self._at[rows] += 1
            last = byte < 0x80
            wasteful = last & (byte == 0)
            if shift == _MOST_SHIFT:
                wasteful |= byte > 1
            self.plain[rows[wasteful]] = False
            rows = rows[~last]
            shift += 7
        self.plain[rows] = False

    def _present(self) -> NDArray[np.intp]:
        """The values whose union is not null."""
        index = self.number()
        self._require((index == 0) | (index == 1))
        return np.flatnonzero(index == 1)

    def pick(self, rows: NDArray[np.intp]) -> "Cursor":
        """A cursor of some of the values, which goes on alone."""
        some = object.__new__(Cursor)
        some.raw, some.data = self.raw, self.data
        some._end, some._at, some.plain = self._end[rows], self._at[rows], self.plain[rows]
        return some

    def _merge(self, rows: NDArray[np.intp], some: "Cursor") -> None:
        self._at[rows] = some._at  # noqa: SLF001 - its own kind
        self.plain[rows] = some.plain

    def _require(self, holds: Flags) -> None:
        """What breaks it is not plain, and stays at its end, so that nothing is read beyond."""
        if not holds.all():
            self.plain &= holds
            self._at = np.where(holds, self._at, self._end)


def texts(cursor: Cursor, spans: Spans) -> pa.Array:
    """What stands in these spans, as texts that share the cursor's buffer.

    What is not UTF-8 is null, and its value not plain.
    """
    array = _views(cursor, spans, pa.string_view())
    if _is_valid(array):
        return array
    bad = _undecodable(cursor, spans)
    cursor.plain[bad] = False
    return _views(cursor, Spans(spans.start, np.where(bad, -1, spans.size)), pa.string_view())


def text_lists(cursor: Cursor, lists: Lists) -> pa.Array:
    """The same for lists of texts."""
    array = _views(cursor, lists.items, pa.string_view())
    if not _is_valid(array):
        bad = np.flatnonzero(_undecodable(cursor, lists.items))
        cursor.plain[np.searchsorted(lists.offsets, bad, side="right") - 1] = False
        sizes = lists.items.size.copy()
        sizes[bad] = -1
        array = _views(cursor, Spans(lists.items.start, sizes), pa.string_view())
    return pa.ListArray.from_arrays(pa.array(lists.offsets.astype(np.int32)), array)


def octets(cursor: Cursor, spans: Spans) -> pa.Array:
    """What stands in these spans, as bytes that share the cursor's buffer."""
    return _views(cursor, spans, pa.binary_view())


def uuids(cursor: Cursor, spans: Spans) -> pa.Array:
    """The UUIDs of their canonical texts; null where there is no such text."""
    size = np.where(spans.size == _UUID_CHARS, _UUID_CHARS, -1)
    text = _first(cursor, np.where(size < 0, 0, spans.start), _UUID_CHARS)
    digits = _DIGIT[text[:, _HEXADECIMAL]]
    good = (
        (size > 0) & (digits < _NO_DIGIT).all(axis=1) & (text[:, _HYPHENS] == _HYPHEN).all(axis=1)
    )
    raw = np.ascontiguousarray(digits[:, ::2] << 4 | digits[:, 1::2])
    valid = None if good.all() else pa.py_buffer(np.packbits(good, bitorder="little"))
    found = pa.Array.from_buffers(pa.binary(16), len(size), [valid, pa.py_buffer(raw)])
    return pa.ExtensionArray.from_storage(pa.uuid(), found)


def numbers(values: Longs, absent: Flags | None = None) -> pa.Array:
    """Numbers, null where absent."""
    return pa.array(values, mask=absent)


def _is_valid(array: pa.Array) -> bool:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _undecodable(cursor: Cursor, spans: Spans) -> Flags:
    ends = spans.start + np.maximum(spans.size, 0)
    places = zip(spans.start.tolist(), ends.tolist(), strict=True)
    bad = (not _is_text(cursor.raw[start:end]) for start, end in places)
    return np.fromiter(bad, np.bool_, len(spans.start))


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _views(cursor: Cursor, spans: Spans, type_: Any) -> pa.Array:
    """Arrow's view layout: a size, the first bytes, and where the rest is; or all when short."""
    count = len(spans.start)
    size = np.maximum(spans.size, 0).astype("<i4")
    views = np.zeros((count, 4), "<i4")
    views[:, 0] = size
    short = size <= _INLINE_BYTES
    if short.any():
        first = _first(cursor, spans.start, _INLINE_BYTES)
        first[np.arange(_INLINE_BYTES) >= size[:, None]] = 0
        views[:, 1:] = first.view("<i4")
    long_ = np.flatnonzero(~short)
    if long_.size:
        start = spans.start[long_]
        views[long_, 1] = _first(cursor, start, 4).view("<i4")[:, 0]
        views[long_, 2] = 0
        views[long_, 3] = start
    valid = None
    if (spans.size < 0).any():
        valid = pa.py_buffer(np.packbits(spans.size >= 0, bitorder="little"))
    buffers = [valid, pa.py_buffer(views), pa.py_buffer(cursor.raw)]
    return pa.Array.from_buffers(type_, count, buffers)


def _first(cursor: Cursor, start: Longs, count: int) -> Octets:
    """So many bytes from each place on."""
    found: Octets = sliding_window_view(cursor.data, count)[start]
    return found


def _items(raw: bytes, count: int, at: int, end: int, starts: list[int], sizes: list[int]) -> int:
    """Notes where so many strings stand; returns the place behind the array or the map."""
    for _ in range(count):
        byte = raw[at]
        # Nearly always of one byte; what is wrong with any other is found there.
        size, at = _length(raw, at, end) if byte & _NOT_SMALL else (byte >> 1, at + 1)
        starts.append(at)
        sizes.append(size)
        at += size
    if at > end:
        raise ValueError("longer than the value")
    return _end_of_blocks(raw, at)


def _distinct(raw: bytes, starts: Sequence[int], sizes: Sequence[int]) -> None:
    keys = {raw[at : at + size] for at, size in zip(starts, sizes, strict=True)}
    if len(keys) < len(starts):
        raise ValueError("a key is given twice")


def _numbers(raw: bytes, count: int, at: int, end: int) -> tuple[dict[bytes, int], int]:
    found = {}
    for _ in range(count):
        size, at = _length(raw, at, end)
        name, at = raw[at : at + size], at + size
        name.decode()
        found[name], at = _long(raw, at)
    if len(found) < count:
        raise ValueError("a key is given twice")
    return found, _end_of_blocks(raw, at)


def _set(raw: bytes, count: int, at: int, end: int, bit_of: Sequence[int]) -> tuple[int, int]:
    bits = 0
    for _ in range(count):
        index, at = _long(raw, at)
        if not 0 <= index <= end - at:
            raise ValueError("no such index")
        bits |= bit_of[index]
    return bits, _end_of_blocks(raw, at)


def _length(raw: bytes, at: int, end: int) -> tuple[int, int]:
    size, at = _long(raw, at)
    if not 0 <= size <= end - at:
        raise ValueError("longer than the value")
    return size, at


def number(raw: bytes, at: int, _end: int) -> tuple[int, int]:
    """A field of a record that is a number."""
    return _long(raw, at)


def text(raw: bytes, at: int, end: int) -> tuple[str, int]:
    """A field of a record that is a string."""
    size, at = _length(raw, at, end)
    return raw[at : at + size].decode(), at + size


def _records(
    raw: bytes, place: tuple[int, int, int], key_bytes: int, fields: Sequence[Field], found: Records
) -> int:
    """Notes the records of an array; returns the place behind it."""
    count, at, end = place
    for _ in range(count):
        behind = at + key_bytes
        if behind > end:
            raise ValueError("longer than the value")
        found.keys.append(raw[at:behind].hex())
        at = behind
        for field, values in zip(fields, found.fields, strict=True):
            value, at = field(raw, at, end)
            values.append(value)
    return _end_of_blocks(raw, at)


def _end_of_blocks(raw: bytes, at: int) -> int:
    if raw[at]:
        raise ValueError("several blocks")
    return at + 1


def _long(raw: bytes, at: int) -> tuple[int, int]:
    """A number, in no more bytes than it takes."""
    byte = raw[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    zigzag, shift = byte & 0x7F, 7
    while byte >= 0x80 and shift <= _MOST_SHIFT:
        byte = raw[at]
        at += 1
        zigzag |= (byte & 0x7F) << shift
        shift += 7
    if byte == 0 or byte >= 0x80 or zigzag >> 64:
        raise ValueError("not the shortest form, or more than 64 bits")
    return (zigzag >> 1) ^ -(zigzag & 1), at
