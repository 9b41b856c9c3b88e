"""Avro single-object encoding: C3 01, the writer schema's fingerprint, the body.

Owns the schema files. Invariant: a value is read with the very schema that wrote it, one of the
released ones, strictly (see `avro_reader`), and then resolved to the current one; anything else is
a RejectedError.
Fingerprints are CRC-64-AVRO of the parsing canonical form, little endian, as the Avro
specification says.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from json import loads
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from saec.contracts import avro_reader
from saec.contracts.avro_reader import Read
from saec.contracts.json_text import looks_like
from saec.contracts.rejected import RejectedError
from saec.errors import Reason

MARKER = b"\xc3\x01"
PREFIX_BYTES = 10

Record = dict[str, Any]
Schema = dict[str, Any]


@dataclass(frozen=True)
class _Writer:
    """One released schema, what reads it, and the current one where that is another."""

    name: str
    schema: Schema
    read: Read
    newer: Schema | None


def encode_single(name: str, record: Mapping[str, Any]) -> bytes:
    """The whole value of `record`, an event of schemas/`name`.avsc."""
    out = BytesIO(prefix(name))
    out.seek(PREFIX_BYTES)
    fastavro.schemaless_writer(out, load(name), record)
    return out.getvalue()


def encode_body(schema: Schema, record: Mapping[str, Any]) -> bytes:
    """The bytes of `record` alone, without marker and fingerprint."""
    out = BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def decode_single(value: bytes, names: Collection[str]) -> tuple[str, Record]:
    """The event's name, one of `names`, and its fields, as the current schema has them.

    Raises RejectedError: INVALID_AVRO, UNKNOWN_SCHEMA, UNKNOWN_EVENT_TYPE.
    """
    if len(value) < PREFIX_BYTES or not value.startswith(MARKER):
        text = f"not in single-object encoding{_hint(value)}"
        raise RejectedError(Reason.INVALID_AVRO, text)
    writer = _writers().get(value[len(MARKER) : PREFIX_BYTES])
    if writer is None:
        raise RejectedError(Reason.UNKNOWN_SCHEMA, "fingerprint of no released schema")
    if writer.name not in names:
        raise RejectedError(Reason.UNKNOWN_EVENT_TYPE, "an event that does not belong here")
    return writer.name, _read(value, writer)


def _hint(value: bytes) -> str:
    """What the value may be instead."""
    if value.lstrip()[:1] in {b"{", b"["}:
        return ": it begins like JSON; then the content-type is application/json"
    return looks_like(value) or ": Avro's body alone, perhaps; its first bytes are to name a schema"


def _read(value: bytes, writer: _Writer) -> Record:
    try:
        record, end = writer.read(value, PREFIX_BYTES)
    except (ValueError, IndexError):
        raise RejectedError(Reason.INVALID_AVRO, "the body does not fit its schema") from None
    if end != len(value):
        raise RejectedError(Reason.INVALID_AVRO, "bytes after the end of the body")
    return record if writer.newer is None else _resolved(value, writer.schema, writer.newer)


def _resolved(value: bytes, schema: Schema, newer: Schema) -> Record:
    """What an older release wrote, as the current schema has it."""
    body = BytesIO(value)
    body.seek(PREFIX_BYTES)
    record: Any = fastavro.schemaless_reader(body, schema, newer)
    return dict(record)


@cache
def prefix(name: str) -> bytes:
    """The ten bytes that every value of the event starts with."""
    return MARKER + schema_fingerprint(load(name))


@cache
def load(name: str) -> Schema:
    """The parsed current schema of an event, by the name of its file."""
    return parse((directory() / f"{name}.avsc").read_text("utf-8"))


def parse(text: str) -> Schema:
    """A schema, parsed, without logical types: ids stay texts and instants stay numbers."""
    schema = fastavro.parse_schema(_without_logical_types(loads(text)))
    if not isinstance(schema, dict):
        raise TypeError("not the schema of a record")
    return schema


def schema_fingerprint(schema: Schema) -> bytes:
    """CRC-64-AVRO of the schema's parsing canonical form, 8 bytes, little endian."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


@cache
def names() -> tuple[str, ...]:
    """Every event that has a schema."""
    return tuple(sorted(path.stem for path in directory().glob("*.avsc")))


def released(name: str) -> list[Path]:
    """The released versions of an event's schema, oldest first."""
    paths = (directory() / "released").glob(f"{name}.v*.avsc")
    return sorted(paths, key=lambda path: int(path.stem.rpartition(".v")[2]))


@cache
def directory() -> Path:
    """Where the schemas are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "schemas"
    return inside if inside.is_dir() else package.parent / "schemas"


@cache
def _writers() -> dict[bytes, _Writer]:
    """Every released schema by its fingerprint."""
    writers = {}
    for name in names():
        current = load(name)
        for path in released(name):
            schema = parse(path.read_text("utf-8"))
            key = schema_fingerprint(schema)
            same = key == schema_fingerprint(current)
            read = avro_reader.reader(schema)
            writers[key] = _Writer(name, schema, read, None if same else current)
    return writers


def _without_logical_types(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_logical_types(item) for item in node]
    if isinstance(node, dict):
        return {k: _without_logical_types(v) for k, v in node.items() if k != "logicalType"}
    return node
