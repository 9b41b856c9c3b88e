"""The requests of a history, one after the other, each with what is to become of it.

Pure. Invariant: the same mix, seed and share give the same stories, but for their instants, which
follow from when they are asked for.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from bench.audit.mix import REFUSED, Fate, Kind, Mix, Shares
from bench.audit.people import People
from bench.workload import request_id
from saec.contracts import avro
from saec.contracts.events import Channel
from saec.store.shards import shard_of

_DAY_MS = 86_400_000
_GRACE_MS = 40_000  # of the 60 s there are: publishing takes some
_SPOILED = (b"", b"{", b"\xff\xfe")
_PERSONAL = (Channel.EMAIL, Channel.SMS, Channel.WHATSAPP)
_TEXT = "Prezado cliente, esta mensagem faz parte de um teste de desempenho. " * 5


@dataclass(frozen=True, slots=True)
class Part:
    """The shards of one of several that write a history together."""

    number: int
    of: int
    shards: int

    def has(self, shard: int) -> bool:
        """Whether a shard is its own."""
        return shard % self.of == self.number

    @property
    def own(self) -> tuple[int, ...]:
        """Its shards."""
        return tuple(shard for shard in range(self.shards) if self.has(shard))


@dataclass(frozen=True, slots=True)
class Story:
    """A request, and what is to become of it. `messages`: if none is skipped or stopped."""

    id: UUID
    kind: Kind
    fate: Fate
    fields: Mapping[str, Any]
    messages: int

    def requests(self) -> Iterator[bytes]:
        """The values to publish, in this order."""
        if self.fate is Fate.SPOILED:
            yield _SPOILED[self.id.int % len(_SPOILED)]
        elif self.fate is not Fate.UNKNOWN:
            yield avro.encode_single("schedule_requested", self.fields)
        if self.fate is Fate.REPEATED:
            yield avro.encode_single("schedule_requested", self.fields)
        elif self.fate is Fate.TAKEN:
            other = {**self.fields["message"], "body": b"another text"}
            yield avro.encode_single("schedule_requested", {**self.fields, "message": other})

    def cancels(self) -> Iterator[bytes]:
        """The values of its cancels, in this order; what could be cancelled is, twice."""
        requester = self.fields["requester"]
        times = {
            Fate.CANCELLED: 2,
            Fate.STOPPED: 2,
            Fate.TOO_LATE: 2,
            Fate.FOREIGN: 1,
            Fate.UNKNOWN: 1,
        }.get(self.fate, 0)
        who = "somebody else" if self.fate is Fate.FOREIGN else requester
        for _ in range(times):
            yield avro.encode_single("cancel_requested", {"id": str(self.id), "requester": who})


class Stories:
    """An endless number of them, for one part of the shards."""

    def __init__(self, mix: Mix, people: People, part: Part, seed: int) -> None:
        self._mix = mix
        self._people = people
        self._part = part
        self._label = f"history {seed}"
        self._number = 0
        self._kinds = Shares(mix.kinds)
        self._fates = {kind: Shares(fates) for kind, fates in mix.fates.items()}
        self._told = dict.fromkeys(Kind, 0)
        self._random = random.Random(f"{seed} {part.number} {part.of}")  # noqa: S311

    def next(self, now_ms: int) -> Story:
        """The next one, as asked for at this instant."""
        kind = self._kinds.next()
        fate = self._fates[kind].next()
        id_, number = self._id()
        channels, customers = self._whom(kind)
        per_customer = len([one for one in channels if one is not Channel.PUSH])
        messages = len(customers) * per_customer + (Channel.PUSH in channels)
        self._kinds.take(kind, messages)
        self._fates[kind].take(fate)
        self._told[kind] += 1
        due_ms, expires_ms = self._when(fate, now_ms)
        fields: dict[str, Any] = {
            "id": str(id_),
            "requester": f"system {number % 7}",
            "campaign_id": f"campaign {number}" if kind is Kind.CAMPAIGN else None,
            "channels": list(channels),
            "customers": customers,
            "due_at": due_ms,
            "expires_at": expires_ms,
            "lane": None,
            "message": {
                "subject": "Aviso" if Channel.EMAIL in channels else None,
                "body": self._body(number),
                "content_type": "text/plain; charset=utf-8",
                "attributes": {},
            },
        }
        gone = fate in REFUSED or fate is Fate.UNKNOWN
        return Story(id_, kind, fate, fields, 0 if gone else messages)

    def _id(self) -> tuple[UUID, int]:
        """The next id that is in a shard of this part."""
        while True:
            self._number += 1
            id_ = request_id(self._label, self._number)
            if self._part.has(shard_of(id_, self._part.shards)):
                return id_, self._number

    def _whom(self, kind: Kind) -> tuple[tuple[Channel, ...], tuple[str, ...]]:
        told, first = self._told[kind], self._random.randrange(len(self._people.ids))
        if kind is Kind.PUSH:
            return (Channel.PUSH,), ()
        if kind is Kind.SINGLE:
            return (_PERSONAL[told % len(_PERSONAL)],), self._people.some(first, 1)
        count = self._random.randint(*self._mix.recipients)
        channels = self._mix.channels[told % len(self._mix.channels)]
        return channels, self._people.some(first, count)

    def _when(self, fate: Fate, now_ms: int) -> tuple[int, int | None]:
        """Due instant and expiry."""
        if fate in {Fate.PENDING, Fate.CANCELLED}:
            return now_ms + self._random.randint(1, 400) * _DAY_MS, None
        if fate is Fate.PAST:
            return now_ms - _DAY_MS, None
        if fate is Fate.BEYOND:
            return now_ms + 2_000 * _DAY_MS, None
        due_ms = now_ms - self._random.randint(2_000, _GRACE_MS)
        if fate is Fate.EXPIRED:
            return due_ms, due_ms + 1_000
        return due_ms, now_ms + _DAY_MS if due_ms % 4 == 0 else None

    def _body(self, number: int) -> bytes:
        size = self._random.randint(*self._mix.body_bytes)
        return f"{number}: {_TEXT}".encode()[:size]
