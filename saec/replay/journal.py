"""How far each replay came: one record a replay in the compacted topic `saec.replays`.

It is written in the transaction of the copies, so that it says exactly what was copied. A consumer
group's offsets would be forgotten a week after the replay ended, and a second run would then copy
everything again; the target may be compacted, cut by retention, or very long.
Invariant: the ends of a replay's stretches never change. No personal data.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from saec.errors import BrokerUnavailableError
from saec.kafka import clients, stretches, topics
from saec.kafka.stretches import Stretch
from saec.kafka.topics import TopicSpec
from saec.settings import Settings

_CONFIG = {"cleanup.policy": "compact", "segment.bytes": str(16 * 2**20)}
_HEADERS = [("content-type", b"application/json")]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a replay stands: by source partition its end and the next offset to look at.

    `digest` tells replays of the same id apart; `copied` counts records.
    """

    digest: str
    ends: Mapping[int, int]
    reached: Mapping[int, int]
    copied: int = 0

    @property
    def left(self) -> dict[int, Stretch]:
        """What was not looked at yet; partitions that are done are not in it."""
        found = {p: Stretch(self.reached[p], end) for p, end in self.ends.items()}
        return {p: stretch for p, stretch in found.items() if len(stretch)}

    def after(self, reached: Mapping[int, int], copied: int) -> "Standing":
        """The same, once `copied` more were copied, up to these offsets."""
        return Standing(self.digest, self.ends, dict(reached), self.copied + copied)


def begin(digest: str, wanted: Mapping[int, Stretch]) -> Standing:
    """Nothing was copied yet."""
    ends = {p: stretch.end for p, stretch in wanted.items()}
    return Standing(digest, ends, {p: stretch.start for p, stretch in wanted.items()})


def prepare(settings: Settings) -> None:
    """Create the topic. Where it is, it is left as it is.

    Raises:
        BrokerUnavailableError: no answer, or refused.
    """
    if not _exists(settings):
        topics.create(settings, TopicSpec(settings.topics.replays, 1, _CONFIG))


def read(settings: Settings, replay_id: str) -> Standing | None:
    """What is committed of a replay; None: it never began.

    Raises:
        BrokerUnavailableError: no answer, or what stands there cannot be read.
    """
    if not _exists(settings):
        return None
    topic, key, last = settings.topics.replays, replay_id.encode(), None
    # Up to the last record of all, behind what other replays have open: ours may stand there.
    for batch in stretches.read(settings, topic, stretches.bounds(settings, topic)):
        for record in batch:
            last = record.value if record.key == key else last
    return None if last is None else _decoded(topic, last)


def outgoing(settings: Settings, replay_id: str, standing: Standing) -> dict[str, Any]:
    """What to produce with the copies."""
    return {
        "topic": settings.topics.replays,
        "key": replay_id.encode(),
        "value": json.dumps(asdict(standing), separators=(",", ":")).encode(),
        "headers": _HEADERS,
    }


def _exists(settings: Settings) -> bool:
    return settings.topics.replays in topics.partition_counts(clients.admin(settings))


def _decoded(topic: str, value: bytes) -> Standing:
    try:
        told = json.loads(value)
        ends, reached = (
            {int(partition): int(offset) for partition, offset in told[name].items()}
            for name in ("ends", "reached")
        )
        return Standing(str(told["digest"]), ends, reached, int(told["copied"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BrokerUnavailableError(
            f"{topic} holds a record that is not SAEC's; begin another replay with --id"
        ) from None
