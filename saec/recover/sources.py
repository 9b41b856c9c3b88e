"""What has to be read again: from where the database knows a source to where its group had come.

Invariant: nothing that a group passed over is left out; where Kafka does not hold it any more, the
recovery does not begin.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from saec.kafka import stretches
from saec.kafka.stretches import Stretch
from saec.recover.errors import RecoverError
from saec.settings import Settings
from saec.store.engine import Engine, transaction
from saec.store.positions import read_positions


@dataclass(frozen=True, slots=True)
class Source:
    """A source topic: what is to be read again of each partition, and what stands behind that."""

    topic: str
    again: dict[int, Stretch]
    behind: dict[int, Stretch]

    @property
    def records(self) -> int:
        """How many offsets there are to read again."""
        return sum(len(stretch) for stretch in self.again.values())

    @property
    def ends(self) -> dict[int, int]:
        """The positions once that is done."""
        return {partition: stretch.end for partition, stretch in self.again.items()}


def look(settings: Settings, engine: Engine, role: str, topic: str, *, read: bool = True) -> Source:
    """Where a source stands, once no transaction can move its group any more.

    `read`: whether the records themselves are needed.

    Raises:
        RecoverError: records are gone, or the group's offsets are.
        BrokerUnavailableError, StoreUnavailableError: no answer.
    """
    committed = stretches.committed_offsets(settings, role, topic)
    kept = stretches.bounds(settings, topic)
    with transaction(engine) as connection:
        saved = read_positions(connection, topic)
    _check_offsets(settings.group_id(role), topic, committed, saved, kept)
    again, behind = {}, {}
    for partition, end in committed.items():
        start = saved.get(partition, kept[partition].start)
        if read and start < end and start < kept[partition].start:
            raise RecoverError(
                f"{topic} partition {partition}: offsets {start} to {kept[partition].start - 1} "
                "were deleted, so what was asked there is not known; restore a younger backup"
            )
        again[partition] = Stretch(start, max(start, end))
        behind[partition] = Stretch(max(start, end), kept[partition].end)
    return Source(topic, again, behind)


def whole(settings: Settings, role: str, topic: str) -> Source:
    """All that is kept of a source, up to where its group had come; its processes may run.

    Raises:
        RecoverError: Kafka does not know how far the group had come.
        BrokerUnavailableError: no answer.
    """
    # Those of a transaction that is just ending may be left out: what they answer is left out too.
    committed = stretches.committed_offsets(settings, role, topic, wait=False)
    kept = stretches.bounds(settings, topic)
    held = {partition: stretch.start for partition, stretch in kept.items() if stretch.end > 0}
    _check_offsets(settings.group_id(role), topic, committed, held, kept)
    again = {partition: Stretch(kept[partition].start, end) for partition, end in committed.items()}
    behind = {
        partition: Stretch(max(stretch.start, stretch.end), kept[partition].end)
        for partition, stretch in again.items()
    }
    return Source(topic, again, behind)


def _check_offsets(
    group: str,
    topic: str,
    committed: Mapping[int, int],
    saved: Mapping[int, int],
    kept: Mapping[int, Stretch],
) -> None:
    unknown = sorted(saved.keys() - committed.keys())
    if unknown:
        raise RecoverError(
            f"Kafka does not know any more how far the group {group} had come in the partitions "
            f"{unknown} of {topic}: it forgets that a week after the last process of it stopped"
        )
    beyond = sorted(p for p, end in committed.items() if p not in kept or end > kept[p].end)
    if beyond:
        raise RecoverError(
            f"{topic} ends before what was read of its partitions {beyond}: it lost records, or "
            "was recreated"
        )
