"""Every released schema and the current one read each other's values.

To change a contract: change schemas/<event>.avsc, copy it to schemas/released/<event>.v<N+1>.avsc,
add its fingerprint below. A released file never changes.
"""

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest

from saec.contracts import avro

Schema = dict[str, Any]

# What stands in the first bytes of records that are out in the world.
FINGERPRINTS = {
    "batch_committed.v1.avsc": "45772954d5434302",
    "batch_opened.v1.avsc": "ac4256e6baf6f57f",
    "cancel_requested.v1.avsc": "a3439e5fea217d54",
    "customer_registered.v1.avsc": "26869608c3de8450",
    "dispatch_message.v1.avsc": "6b673dae24e3db70",
    "request_status.v1.avsc": "1f7ea4bfb7c587ed",
    "schedule_requested.v1.avsc": "489e6abc7e2f5558",
    "shard_taken.v1.avsc": "db9fbf61513449dc",
}

RELEASED = [(name, path) for name in avro.names() for path in avro.released(name)]


def samples(schema: Any, named: dict[str, Any]) -> list[Any]:
    """Values of a schema: every branch of a union and symbol of an enum, arrays empty and not."""
    if isinstance(schema, list):
        return [value for branch in schema for value in samples(branch, named)]
    if isinstance(schema, str):
        return samples(named[schema], named) if schema in named else PRIMITIVES[schema]
    if schema["type"] in {"record", "enum", "fixed"}:
        named[schema["name"]] = schema
    find = COMPLEX.get(schema["type"])
    return find(schema, named) if find else samples(schema["type"], named)


def records(schema: Schema, named: dict[str, Any]) -> list[dict[str, Any]]:
    """One record with each sample of each field, the other fields at their first."""
    fields = {field["name"]: samples(field["type"], named) for field in schema["fields"]}
    first = {name: found[0] for name, found in fields.items()}
    return [{**first, name: value} for name, found in fields.items() for value in found]


PRIMITIVES: dict[str, list[Any]] = {
    "null": [None],
    "int": [0, -(2**31), 2**31 - 1],
    "long": [0, -(2**63), 2**63 - 1],
    "string": ["", "Olá 🎉"],
    "bytes": [b"", bytes(range(256))],
}
COMPLEX: dict[str, Callable[[Schema, dict[str, Any]], list[Any]]] = {
    "record": records,
    "enum": lambda schema, _: schema["symbols"],
    "fixed": lambda schema, _: [bytes(schema["size"])],
    "array": lambda schema, named: [[], samples(schema["items"], named)],
    "map": lambda schema, named: [
        {},
        {str(n): v for n, v in enumerate(samples(schema["values"], named))},
    ],
}


def assert_reads(writer: Schema, reader: Schema) -> None:
    """Whatever `writer` writes is read with `reader`; shared fields keep their values."""
    shared = {field["name"] for field in writer["fields"]} & {f["name"] for f in reader["fields"]}
    for value in samples(writer, {}):
        body = BytesIO()
        fastavro.schemaless_writer(body, writer, value)
        body.seek(0)
        read: Any = fastavro.schemaless_reader(body, writer, reader)
        assert {name: read[name] for name in shared} == {name: value[name] for name in shared}


def enums(schema: Any) -> Iterator[Schema]:
    """Every enum in a schema."""
    if isinstance(schema, list):
        for item in schema:
            yield from enums(item)
    elif isinstance(schema, dict):
        if schema.get("type") == "enum":
            yield schema
        for item in schema.values():
            yield from enums(item)


@pytest.mark.parametrize(("name", "path"), RELEASED, ids=lambda given: getattr(given, "name", ""))
def test_released_and_current_read_each_other(name: str, path: Path) -> None:
    released, current = avro.parse(path.read_text("utf-8")), avro.load(name)
    assert_reads(released, current)
    assert_reads(current, released)


@pytest.mark.parametrize("name", avro.names())
def test_the_current_schema_is_the_newest_released(name: str) -> None:
    current = (avro.directory() / f"{name}.avsc").read_bytes()
    newest = avro.released(name)[-1]
    assert newest.read_bytes() == current, "release it as the next version beside the others"
    versions = [path.name for path in avro.released(name)]
    assert versions == [f"{name}.v{number}.avsc" for number in range(1, len(versions) + 1)]


def test_no_released_schema_has_changed() -> None:
    found = {
        path.name: avro.schema_fingerprint(avro.parse(path.read_text("utf-8"))).hex()
        for _, path in RELEASED
    }
    assert found == FINGERPRINTS


@pytest.mark.parametrize("name", avro.names())
def test_every_enum_has_a_default(name: str) -> None:
    for enum in enums(avro.load(name)):
        assert enum["default"] == enum["symbols"][0] == "UNKNOWN"


@pytest.mark.parametrize("name", avro.names())
def test_the_file_s_name_is_the_event_s(name: str) -> None:
    expected = "saec.v1." + "".join(word.capitalize() for word in name.split("_"))
    assert avro.load(name)["name"] == expected


def test_the_message_is_the_same_wherever_it_stands() -> None:
    first, second = (
        avro.schema_fingerprint(
            next(f for f in avro.load(name)["fields"] if f["name"] == "message")["type"]
        )
        for name in ("schedule_requested", "dispatch_message")
    )
    assert first == second


def test_fingerprints_are_those_of_the_avro_specification() -> None:
    # the Java library's: "int" has 7275d51a3f395c8f, written lowest byte first
    assert fastavro.schema.fingerprint('"int"', "CRC-64-AVRO") == "8f5c393f1ad57572"


def changed(name: str, change: Callable[[Schema], object]) -> Schema:
    """The current schema as someone might edit it."""
    raw = json.loads((avro.directory() / f"{name}.avsc").read_text("utf-8"))
    change(raw)
    return avro.parse(json.dumps(raw))


def field_of(schema: Schema, name: str) -> dict[str, Any]:
    return next(field for field in schema["fields"] if field["name"] == name)


INCOMPATIBLE: dict[str, Callable[[Schema], object]] = {
    "a new field without default": lambda s: s["fields"].append({"name": "x", "type": "long"}),
    "a field without default removed": lambda s: s["fields"].remove(field_of(s, "requester")),
    "a field renamed": lambda s: field_of(s, "due_at").update(name="due"),
    "another type": lambda s: field_of(s, "requester").update(type="long"),
    "no longer nullable": lambda s: field_of(s, "campaign_id").update(type="string", default=""),
    "another record": lambda s: s.update(name="Scheduled"),
}


@pytest.mark.parametrize("kind", INCOMPATIBLE)
def test_the_check_finds(kind: str) -> None:
    released = changed("schedule_requested", lambda _: None)
    current = changed("schedule_requested", INCOMPATIBLE[kind])
    with pytest.raises((fastavro.read.SchemaResolutionError, AssertionError)):  # noqa: PT012
        assert_reads(released, current)
        assert_reads(current, released)


def test_the_check_lets_a_field_with_default_pass() -> None:
    def change(schema: Schema) -> None:
        schema["fields"].append({"name": "x", "type": ["null", "long"], "default": None})

    released = changed("schedule_requested", lambda _: None)
    current = changed("schedule_requested", change)
    assert_reads(released, current)
    assert_reads(current, released)


def test_a_new_symbol_is_read_as_unknown_by_those_who_do_not_know_it() -> None:
    def change(schema: Schema) -> None:
        field_of(schema, "channel")["type"]["symbols"].append("FAX")

    released = changed("dispatch_message", lambda _: None)
    current = changed("dispatch_message", change)
    value = next(v for v in samples(current, {}) if v["channel"] == "FAX")
    body = BytesIO()
    fastavro.schemaless_writer(body, current, value)
    body.seek(0)
    read: Any = fastavro.schemaless_reader(body, current, released)
    assert read["channel"] == "UNKNOWN"
