"""Looks through what is to be copied before anything is: how much it is, and that it fits.

Invariant: changes nothing. A record that the target would refuse is found before the first copy.
"""

from collections.abc import Mapping

from saec.kafka import stretches
from saec.kafka.records import Incoming
from saec.kafka.stretches import Stretch
from saec.replay.copies import Copy, copy_of, loses_headers
from saec.replay.errors import ReplayRefusedError
from saec.replay.report import Count, Progress, Stage
from saec.replay.route import Route
from saec.replay.selection import Choice, Selection, choose
from saec.settings import Settings


def survey(
    settings: Settings,
    selection: Selection,
    route: Route,
    wanted: Mapping[int, Stretch],
    progress: Progress,
) -> dict[int, Count]:
    """What is in these stretches, by partition.

    Raises:
        ReplayRefusedError: a record is too large for the target.
        BrokerUnavailableError: no answer.
    """
    found = {p: Count(stretch.start, stretch.end) for p, stretch in wanted.items()}
    done, of = 0, sum(map(len, wanted.values()))
    for batch in stretches.read(settings, selection.topic, wanted):
        for record in batch:
            _add(found[record.partition], selection, route, record)
        done += len(batch)
        progress(Stage.COUNTING, done, of)
    return found


def _add(count: Count, selection: Selection, route: Route, record: Incoming) -> None:
    count.records += 1
    choice = choose(selection, record)
    if choice is Choice.CHOSEN:
        copy = copy_of(record, route.replay_id or "", route.partitions)
        _check_size(route, record, copy)
        count.chosen += 1
        count.chosen_bytes += copy.size_bytes
        count.headers_lost += loses_headers(record)
    elif choice is Choice.UNREADABLE:
        count.unreadable += 1


def _check_size(route: Route, record: Incoming, copy: Copy) -> None:
    largest = route.largest_bytes
    if largest is not None and copy.most_bytes > largest:
        raise ReplayRefusedError(
            f"{record.topic}, partition {record.partition}, offset {record.offset}: with the "
            f"headers of a copy it takes {copy.most_bytes:,} bytes, and {route.target} takes "
            f"{largest:,}. Raise its max.message.bytes, and run this again; nothing was copied"
        )
