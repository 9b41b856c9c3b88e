"""Reads what SAEC publishes, from the schemas alone: nothing of SAEC's own code is used.

Invariant: a value that is no single-object Avro of the schema is an error, never passed over.
"""

import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fastavro

_SCHEMAS = Path(__file__).resolve().parents[1] / "schemas"
_MARKER = b"\xc3\x01"
_HEAD_BYTES = 10  # the marker and a fingerprint


@dataclass(frozen=True, slots=True)
class Record:
    """A record as a reader gets it. `read_ms` is when it was read, by the machine's clock.

    Of one that is `lost` to the client only the place and the instant are known.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    read_ms: int
    lost: bool = False

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition and offset."""
        return self.topic, self.partition, self.offset

    def header(self, name: str) -> str:
        """The text of a header; empty when there is none."""
        return next((value or b"" for key, value in self.headers if key == name), b"").decode()


def dispatched(record: Record) -> dict[str, Any]:
    """A DispatchMessage, its fields by name; instants in epoch milliseconds."""
    return _decoded("dispatch_message", record.value)


def answered(record: Record) -> dict[str, Any]:
    """A RequestStatus, its fields by name."""
    return _decoded("request_status", record.value)


def _decoded(name: str, value: bytes | None) -> dict[str, Any]:
    if value is None or not value.startswith(_MARKER):
        raise ValueError(f"no Avro single object where a {name} should be")
    fields: Any = fastavro.schemaless_reader(io.BytesIO(value[_HEAD_BYTES:]), _schema(name), None)
    return dict(fields)


@cache
def _schema(name: str) -> Any:
    # Without logical types: instants stay numbers, ids stay texts.
    return fastavro.parse_schema(_plain(json.loads((_SCHEMAS / f"{name}.avsc").read_text())))


def _plain(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
    return [_plain(part) for part in schema] if isinstance(schema, list) else schema
