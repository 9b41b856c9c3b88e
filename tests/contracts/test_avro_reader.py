"""Our own reading of Avro against a general decoder's."""

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saec.contracts import avro, varint
from saec.contracts.avro_reader import reader
from saec.errors import Reason
from tests.contracts.test_compatibility import RELEASED, changed, samples
from tests.contracts.values import schedule_avro

EVERY_KIND = {
    "type": "record",
    "name": "EveryKind",
    "fields": [
        {"name": "flag", "type": "boolean"},
        {"name": "half", "type": "float"},
        {"name": "whole", "type": "double"},
        {"name": "four", "type": {"type": "fixed", "name": "Four", "size": 4}},
        {"name": "letter", "type": {"type": "enum", "name": "Letter", "symbols": ["A", "B"]}},
        {"name": "again", "type": ["null", "Letter"]},
        {"name": "numbers", "type": {"type": "array", "items": "long"}},
        {"name": "texts", "type": {"type": "map", "values": "string"}},
    ],
}
KINDS = avro.parse(json.dumps(EVERY_KIND))


def written() -> Iterator[tuple[Any, Any]]:
    for _, path in RELEASED:
        schema = avro.parse(path.read_text("utf-8"))
        for value in samples(schema, {}):
            yield schema, value
    kinds = {"flag": True, "half": 0.5, "whole": -1e300, "four": b"1234", "letter": "A"}
    yield KINDS, {**kinds, "again": "B", "numbers": [-1, 64, -(2**63)], "texts": {"a": "á"}}


def test_whatever_is_written_is_read() -> None:
    for schema, value in written():
        raw = avro.encode_body(schema, value)
        assert reader(schema)(b"head" + raw, 4) == (value, 4 + len(raw))


@given(st.binary(max_size=60), st.sampled_from([schema for schema, _ in written()]))
def test_what_is_read_of_any_bytes_is_what_others_read(raw: bytes, schema: Any) -> None:
    try:
        value, end = reader(schema)(raw, 0)
    except (ValueError, IndexError):
        return
    body = BytesIO(raw)
    assert repr(value) == repr(fastavro.schemaless_reader(body, schema, None))
    assert end == body.tell()


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff" * 9 + b"\x02",  # 65 bits
        b"\x80" * 10 + b"\x01",
        b"\x80" * 10,
        b"\x80",
        b"",
    ],
)
def test_a_number_of_more_than_64_bits_or_without_an_end_is_none(raw: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        reader({"type": "long"})(raw, 0)


@pytest.mark.parametrize(
    ("schema", "raw"),
    [
        ({"type": "string"}, varint.long(-1) + b"a"),
        ({"type": "bytes"}, varint.long(2) + b"a"),
        ({"type": "fixed", "size": 2}, b"a"),
        ({"type": "enum", "symbols": ["A", "B"]}, varint.long(-1)),
        ({"type": "enum", "symbols": ["A", "B"]}, varint.long(2)),
        ({"type": "array", "items": ["null", "long"]}, varint.long(1) + varint.long(-2) + b"\x00"),
        ({"type": "map", "values": "long"}, varint.long(2) + b"\x02a\x00\x02a\x02\x00"),
    ],
)
def test_what_a_lenient_decoder_would_let_pass(schema: Any, raw: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        reader(schema)(raw, 0)


def test_blocks_with_and_without_their_size() -> None:
    raw = varint.long(-2) + varint.long(2) + b"\x02\x04" + varint.long(1) + b"\x06" + b"\x00"
    assert reader({"type": "array", "items": "long"})(raw, 0) == ([1, 2, 3], len(raw))


def test_an_older_release_is_read_as_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(schema: Any) -> None:
        schema["fields"].append({"name": "x", "type": ["null", "long"], "default": None})

    writers = dict(avro._writers())
    key = schedule_avro()[len(avro.MARKER) : avro.PREFIX_BYTES]
    old = writers[key]
    writers[key] = avro._Writer(old.name, old.schema, old.read, changed(old.name, add))
    monkeypatch.setattr(avro, "_writers", lambda: writers)
    _, fields = avro.decode_single(schedule_avro(), ("schedule_requested",))
    assert fields["x"] is None
    assert fields["requester"]
    with pytest.raises(avro.RejectedError) as refused:
        avro.decode_single(schedule_avro() + b"\x00", ("schedule_requested",))
    assert refused.value.reason is Reason.INVALID_AVRO
