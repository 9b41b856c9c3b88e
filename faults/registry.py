"""The model of the registry: which addresses a customer may have had at an instant.

A record changes what it mentions. It counts from its append time at the earliest. It certainly
counts once the group was seen to have answered it: `seen_stored` is what a watcher of the group
saw. Between the two, both are possible. Invariant: nothing here comes from SAEC's code or database.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from faults.wire import Record

_KEPT = ("email", "phone", "opted_out")
Seen = tuple[int, dict[int, int]]
"""An instant (ms), and the offset of each partition that the group had committed before it."""


@dataclass(frozen=True, slots=True)
class Version:
    """A customer between two records; `fields` is None when unknown or erased."""

    fields: dict[str, Any] | None
    from_ms: int
    until_ms: int | None

    def outcome(self, channel: str) -> tuple[str | None, str | None]:
        """The address on a channel, or else the reason why there is none."""
        if self.fields is None:
            return None, "unknown_customer"
        if channel in self.fields["opted_out"]:
            return None, "opted_out"
        address = self.fields.get("email" if channel == "EMAIL" else "phone")
        return (address, None) if address else (None, "no_address")


@dataclass(slots=True)
class Registry:
    """All versions of all customers."""

    versions: dict[str, list[Version]] = field(default_factory=dict)

    def possible(self, customer: str, at_ms: int) -> list[Version]:
        """Which versions a database snapshot of this instant may have shown."""
        known = self.versions.get(customer, [Version(None, 0, None)])
        return [
            version
            for version in known
            if version.from_ms <= at_ms and (version.until_ms is None or at_ms <= version.until_ms)
        ]


def learn(records: Iterable[Record], seen_stored: Iterable[Seen]) -> Registry:
    """The registry that the records of saec.customers make."""
    seen = sorted(seen_stored, key=lambda one: one[0])
    by_customer: dict[str, list[Record]] = {}
    for record in records:
        if record.lost:
            continue
        by_customer.setdefault((record.key or b"").decode(), []).append(record)
    registry = Registry()
    for customer, mixed in by_customer.items():
        found = _in_order(mixed)
        froms = [0, *(record.timestamp_ms for record in found)]
        untils = [*(_stored_by(record, seen) for record in found), None]
        registry.versions[customer] = [
            Version(fields, from_ms, until_ms)
            for fields, from_ms, until_ms in zip(_fields(found), froms, untils, strict=True)
        ]
    return registry


def _in_order(records: Iterable[Record]) -> list[Record]:
    """A customer's records, oldest first: of one partition by offset, whatever was stamped."""
    last_ms: dict[int, int] = {}
    placed = []
    for record in sorted(records, key=lambda one: (one.partition, one.offset)):
        at_ms = max(record.timestamp_ms, last_ms.get(record.partition, 0))
        last_ms[record.partition] = at_ms
        placed.append((at_ms, record.partition, record.offset, record))
    return [record for *_, record in sorted(placed, key=lambda one: one[:3])]


def _fields(records: Iterable[Record]) -> Iterator[dict[str, Any] | None]:
    """What is registered before, and after, each record: it changes what it mentions."""
    known: dict[str, Any] | None = None
    yield known
    for record in records:
        if record.value is None:
            known = None
        else:
            said = json.loads(record.value)
            mentioned = {name: said[name] for name in _KEPT if said.get(name) is not None}
            known = {"opted_out": [], **(known or {}), **mentioned}
        yield known


def _stored_by(record: Record, seen: list[Seen]) -> int | None:
    """The first instant at which the record was known to be stored."""
    for at_ms, offsets in seen:
        if offsets.get(record.partition, 0) > record.offset:
            return at_ms
    return None
