"""Batches of records written by hand, as an attacker would: any codec, any size, a byte at a time.

Owns Kafka's record format and just enough of its protocol to publish a batch without login to a
lone broker. What a batch decompresses to is never in memory here: it is mostly one zero, repeated.
"""

import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient

_CHUNK = 4_194_304
_TIMEOUT_S = 60
MANY_ZEROS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""The codecs, by Kafka's number."""


@dataclass(frozen=True, slots=True)
class Large:
    """A record with so many zeros in one place: `value`, `key` or `header`."""

    zeros: int
    place: str = "value"
    key: bytes = b"k"

    def parts(self) -> tuple[bytes, bytes]:
        """What stands before the zeros and behind them, from the length of the record on."""
        many = _varint(self.zeros)
        before = b"\0" + _varint(0) + _varint(0)
        if self.place == "key":
            before, behind = before + many, _varint(1) + b"v" + _varint(0)
        elif self.place == "value":
            before, behind = before + _varint(len(self.key)) + self.key + many, _varint(0)
        else:
            before += _varint(len(self.key)) + self.key + _varint(1) + b"v" + _varint(1)
            before, behind = before + _varint(1) + b"h" + many, b""
        size = len(before) + self.zeros + len(behind)
        return _varint(size) + before, behind


def batch(codec: str, record: Large) -> bytes:
    """A batch of one large record."""
    before, behind = record.parts()
    return sealed(MANY_ZEROS[codec], 1, _COMPRESS[codec](before, record.zeros, behind))


def small(values: list[bytes]) -> bytes:
    """Records without a key, as they stand in a batch before it is compressed."""
    records = b""
    for at, value in enumerate(values):
        body = b"\0" + _varint(0) + _varint(at) + _varint(-1) + _varint(len(value)) + value
        body += _varint(0)
        records += _varint(len(body)) + body
    return records


def halves(values: list[bytes], at: int | None = None) -> bytes:
    """A batch in two members of gzip: Kafka reads on behind the first, librdkafka does not."""
    records = small(values)
    middle = len(records) // 2 if at is None else at
    return sealed(1, len(values), b"".join(_gzip(p) for p in (records[:middle], records[middle:])))


def sealed(codec: int, count: int, payload: bytes) -> bytes:
    """A batch of `count` records, with its checksum."""
    tail = struct.pack(
        ">hiqqqhii", codec, count - 1, 1_700_000_000_000, 1_700_000_000_000, -1, -1, -1, count
    )
    tail += payload
    return struct.pack(">qiibI", 0, len(tail) + 9, -1, 2, crc32c(tail)) + tail


def publish(bootstrap: str, topic: str, records: bytes, partition: int = 0) -> int:
    """Publish a batch as it is; returns Kafka's error code, 0 when it was appended."""
    address = next(
        iter(AdminClient({"bootstrap.servers": bootstrap}).list_topics().brokers.values())
    )
    body = struct.pack(">hhi", -1, -1, _TIMEOUT_S * 1000) + struct.pack(">i", 1) + _text(topic)
    body += struct.pack(">iii", 1, partition, len(records)) + records
    request = struct.pack(">hhi", 0, 7, 1) + _text("tests") + body
    with closing(socket.create_connection((address.host, address.port), _TIMEOUT_S)) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _read(connection, 4))
        answer = _read(connection, size)
    at = 4 + 4 + 2 + len(topic.encode()) + 4 + 4
    return int(struct.unpack(">h", answer[at : at + 2])[0])


def _read(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = connection.recv(size - len(found))
        if not piece:
            raise ConnectionError("the broker closed the connection")
        found += piece
    return found


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


def _varint(number: int) -> bytes:
    zigzag = (number << 1) ^ (number >> 63)
    found = b""
    while zigzag >= 0x80:
        found += bytes([zigzag & 0x7F | 0x80])
        zigzag >>= 7
    return found + bytes([zigzag])


def _pieces(zeros: int, most: int) -> Iterator[int]:
    while zeros:
        yield min(zeros, most)
        zeros -= min(zeros, most)


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def _gzip_zeros(before: bytes, zeros: int, behind: bytes) -> bytes:
    made, crc = b"\x1f\x8b\x08\0\0\0\0\0\0\xff", zlib.crc32(before)

    def flushed(data: bytes) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)

    chunk = bytes(_CHUNK)
    whole = flushed(chunk)
    parts = [made, flushed(before)]
    for size in _pieces(zeros, _CHUNK):
        piece = chunk if size == _CHUNK else bytes(size)
        parts.append(whole if size == _CHUNK else flushed(piece))
        crc = zlib.crc32(piece, crc)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts.append(last.compress(behind) + last.flush())
    crc = zlib.crc32(behind, crc)
    size = (len(before) + zeros + len(behind)) & 0xFFFFFFFF
    return b"".join(parts) + struct.pack("<II", crc, size)


def _snappy_zeros(before: bytes, zeros: int, behind: bytes) -> bytes:
    def chunk(data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + data

    def literal(data: bytes) -> bytes:
        return chunk(
            _unsigned(len(data)) + bytes([61 << 2]) + struct.pack("<H", len(data) - 1) + data
        )

    def run(size: int) -> bytes:
        data = _unsigned(size) + b"\0\0"  # a literal zero, then copies of it
        full, rest = divmod(size - 1, 64)
        data += b"\xfe\x01\0" * full
        return chunk(data + (bytes([(rest - 1) << 2 | 2]) + b"\x01\0" if rest else b""))

    parts = [b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1), literal(before)]
    whole = run(1_048_576)
    parts += [whole if n == 1_048_576 else run(n) for n in _pieces(zeros, 1_048_576)]
    return b"".join([*parts, literal(behind)] if behind else parts)


def _lz4_zeros(before: bytes, zeros: int, behind: bytes) -> bytes:
    head = b"\x60\x70"  # blocks of up to 4 MB, each by itself

    def plain(data: bytes) -> bytes:
        return struct.pack("<I", len(data) | 0x80000000) + data

    def run(size: int) -> bytes:
        if size < 64:
            return plain(bytes(size))
        match = size - 1 - 5 - 4  # one literal before, five behind
        data = b"\x1f\0\x01\0" + b"\xff" * ((match - 15) // 255) + bytes([(match - 15) % 255])
        data += b"\x50" + bytes(5)
        return struct.pack("<I", len(data)) + data

    parts = [b"\x04\x22\x4d\x18", head, bytes([_xxh32(head) >> 8 & 0xFF]), plain(before)]
    whole = run(_CHUNK)
    parts += [whole if n == _CHUNK else run(n) for n in _pieces(zeros, _CHUNK)]
    return b"".join([*parts, plain(behind) if behind else b"", bytes(4)])


def _zstd_zeros(before: bytes, zeros: int, behind: bytes) -> bytes:
    total = len(before) + zeros + len(behind)

    def block(kind: int, size: int, data: bytes, *, last: bool = False) -> bytes:
        return struct.pack("<I", last | kind << 1 | size << 3)[:3] + data

    # A window of 128 KB, and the size of the content.
    parts = [b"\x28\xb5\x2f\xfd\xc0\x38", struct.pack("<Q", total), block(0, len(before), before)]
    whole = block(1, 131_072, b"\0")
    parts += [whole if n == 131_072 else block(1, n, b"\0") for n in _pieces(zeros, 131_072)]
    return b"".join([*parts, block(0, len(behind), behind, last=True)])


_COMPRESS: dict[str, Callable[[bytes, int, bytes], bytes]] = {
    "gzip": _gzip_zeros,
    "snappy": _snappy_zeros,
    "lz4": _lz4_zeros,
    "zstd": _zstd_zeros,
}


def _unsigned(number: int) -> bytes:
    found = b""
    while number >= 0x80:
        found += bytes([number & 0x7F | 0x80])
        number >>= 7
    return found + bytes([number])


def _xxh32(data: bytes) -> int:
    """Of fewer than four bytes."""
    hashed = 374_761_393 + len(data)
    for byte in data:
        hashed = (hashed + byte * 374_761_393) & 0xFFFFFFFF
        hashed = ((hashed << 11 | hashed >> 21) & 0xFFFFFFFF) * 2_654_435_761 & 0xFFFFFFFF
    hashed = (hashed ^ hashed >> 15) * 2_246_822_519 & 0xFFFFFFFF
    hashed = (hashed ^ hashed >> 13) * 3_266_489_917 & 0xFFFFFFFF
    return hashed ^ hashed >> 16


def _table() -> list[int]:
    table = []
    for number in range(256):
        crc = number
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 if crc & 1 else crc >> 1
        table.append(crc)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """The checksum of a batch."""
    crc, table = 0xFFFFFFFF, _TABLE
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
