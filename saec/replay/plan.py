"""Which offsets a selection comes to, as the source stands now.

Invariant: the end is what is committed now; nothing that comes later belongs to the replay.
"""

from saec.kafka import stretches
from saec.kafka.stretches import Stretch
from saec.replay.errors import ReplayRefusedError
from saec.replay.selection import Offsets, Selection
from saec.settings import Settings


def plan(settings: Settings, selection: Selection) -> dict[int, Stretch]:
    """The stretch to look at, by partition.

    An instant ends nothing here: where producers stamp the records, one that is older may stand
    behind one that is younger. So what is after `until_ms` is read, and not chosen.

    Raises:
        ReplayRefusedError: offsets that are not there.
        BrokerUnavailableError: no answer.
    """
    topic = selection.topic
    wanted = stretches.bounds(settings, topic, committed=True)
    if selection.offsets:
        wanted = _within(topic, wanted, selection)
    if selection.since_ms is not None:
        wanted = stretches.from_instant(settings, topic, selection.since_ms, wanted)
    return wanted


def check_kept(settings: Settings, topic: str, left: dict[int, Stretch]) -> None:
    """Refuse to go on where retention deleted what was not copied yet.

    Raises:
        ReplayRefusedError: says which offsets.
        BrokerUnavailableError: no answer.
    """
    kept = stretches.bounds(settings, topic)
    for partition, stretch in left.items():
        if partition not in kept or kept[partition].start > stretch.start:
            raise ReplayRefusedError(
                f"{topic}, partition {partition}: offset {stretch.start} was deleted before it was "
                "copied. What is kept can be copied by a replay of its own: give another --id"
            )


def _within(topic: str, kept: dict[int, Stretch], selection: Selection) -> dict[int, Stretch]:
    partitions = [one.partition for one in selection.offsets]
    if len(set(partitions)) < len(partitions):
        raise ReplayRefusedError("a partition is given twice: replay one stretch after the other")
    return {one.partition: _stretch(topic, kept, one) for one in selection.offsets}


def _stretch(topic: str, kept: dict[int, Stretch], wanted: Offsets) -> Stretch:
    if wanted.partition not in kept:
        raise ReplayRefusedError(f"{topic} has no partition {wanted.partition}")
    whole = kept[wanted.partition]
    end = whole.end if wanted.last is None else wanted.last + 1
    if not whole.start <= wanted.first <= end <= whole.end:
        has = f"offsets {whole.start} to {whole.end - 1}" if len(whole) else "no records"
        raise ReplayRefusedError(f"{topic}, partition {wanted.partition} has {has}")
    return Stretch(wanted.first, end)
