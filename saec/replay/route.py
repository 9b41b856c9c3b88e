"""From where to where: both topics as Kafka knows them, and which replay this is.

Invariant: a topic that was deleted and created again is another one, and so is the replay.
"""

import re
from dataclasses import dataclass

from saec.kafka import limits, topics
from saec.kafka.clients import admin
from saec.kafka.identity import read_identity
from saec.replay import target as targets
from saec.replay.errors import ReplayRefusedError
from saec.replay.options import Options
from saec.replay.selection import Selection
from saec.settings import Settings

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ID_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Route:
    """`partitions` of the target. `digest` tells replays apart; None: the target does not exist.

    `largest_bytes` is what the target takes; None: anything.
    """

    target: str
    partitions: int
    replay_id: str | None
    digest: str | None
    largest_bytes: int | None


def find_route(settings: Settings, selection: Selection, target: str, options: Options) -> Route:
    """Look at both topics, and create the target if that is wanted.

    Raises:
        ReplayRefusedError: the target must not be written, or is missing; or a bad id.
        BrokerUnavailableError: no answer, or not allowed.
    """
    if options.id is not None and not _ID.fullmatch(options.id):
        raise ReplayRefusedError("the id of a replay: up to 64 letters, digits, dots, _ and -")
    standing = topics.partition_counts(admin(settings))
    targets.check(settings, selection.topic, target, standing, options.really_into)
    partitions = standing.get(target)
    if partitions is None:
        partitions = standing[selection.topic]
        if not options.create:
            raise ReplayRefusedError(
                f"there is no topic {target}: create it, or add --create to have it created with "
                f"{partitions} partitions, like the source"
            )
        if options.dry_run:
            return Route(target, partitions, options.id, None, None)
        targets.create(settings, selection.topic, target, partitions)
    return _known(settings, selection, target, partitions, options.id)


def _known(
    settings: Settings, selection: Selection, target: str, partitions: int, given: str | None
) -> Route:
    found = read_identity(settings, (selection.topic, target))
    ids = (found.topic_ids[selection.topic], found.topic_ids[target])
    digest = selection.digest(found.cluster_id, *ids)
    largest = limits.largest_bytes(settings, target)
    return Route(target, partitions, given or digest[:_ID_DIGITS], digest, largest)
