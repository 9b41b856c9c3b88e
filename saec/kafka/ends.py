"""Whether the end of a transaction has reached every partition that it wrote to.

Kafka 4.3.0, 4.3.1 and 4.4.0 can report a commit as done without telling a partition that has no
leader at that moment (KAFKA-20734). What was written there hangs: nobody reads it, and the end of
the producer's next transaction decides over it, an abort too. Invariant: a partition counts as
reached only when read_committed readers may read past what was written.
"""

import threading
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import OFFSET_END, KafkaException, TopicPartition

from saec.errors import BrokerUnavailableError
from saec.kafka import clients
from saec.settings import Settings

Place = tuple[str, int]

_ASK_TIMEOUT_S = 2.0
_PAUSES_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)


class Reach:
    """Looks how far partitions can be read. Kept for as long as what it serves."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumers: dict[str, Any] = {}

    def unreached(
        self, written: Mapping[Place, int], bound_s: float, stop: threading.Event | None = None
    ) -> set[Place]:
        """The partitions where readers could not pass these offsets within `bound_s`."""
        left, tries = dict(written), 0
        until_s, never = time.monotonic() + bound_s, stop or threading.Event()
        while left:
            ends = self._ends(left, "read_committed")
            without_leader = len(ends) < len(left)
            left = {place: at for place, at in left.items() if ends.get(place, -1) <= at}
            if not left or time.monotonic() >= until_s or never.is_set():
                break
            if without_leader:
                self.close()  # a client that is new learns who leads now
            never.wait(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
            tries += 1
        return set(left)

    def written(self, places: Collection[Place]) -> dict[Place, int]:
        """The last offset of each partition, whoever wrote it; -1 where nothing is, or no leader.

        Where there is no leader the end is not known, and `unreached` waits until it is.
        """
        ends = self._ends(places, "read_uncommitted")
        return {place: ends.get(place, 0) - 1 for place in places}

    def places(self, topics: Iterable[str]) -> list[Place]:
        """Every partition of these topics.

        Raises:
            BrokerUnavailableError: no answer.
        """
        names, consumer = set(topics), self._consumer("read_uncommitted")
        try:
            listed = consumer.list_topics(timeout=_ASK_TIMEOUT_S).topics
        except KafkaException as error:
            raise BrokerUnavailableError(f"no answer from Kafka: {error.args[0].str()}") from None
        return [(t, p) for t in sorted(names & listed.keys()) for p in listed[t].partitions]

    def close(self) -> None:
        """Close the clients; the next look makes new ones."""
        consumers, self._consumers = self._consumers, {}
        for consumer in consumers.values():
            with suppress(Exception):
                consumer.close()

    def _ends(self, places: Collection[Place], isolation: str) -> dict[Place, int]:
        """The end of each partition that has a leader, for readers of this isolation."""
        asked = [TopicPartition(*place, OFFSET_END) for place in places]
        try:
            found = self._consumer(isolation).offsets_for_times(asked, timeout=_ASK_TIMEOUT_S)
        except KafkaException:
            return {}
        return {
            (tp.topic, tp.partition): tp.offset
            for tp in found
            if tp.error is None and tp.offset >= 0
        }

    def _consumer(self, isolation: str) -> Any:
        if isolation not in self._consumers:
            group = self._settings.group_id("ledger-reader")
            level = {"isolation.level": isolation}
            self._consumers[isolation] = clients.consumer(self._settings, group, **level)
        return self._consumers[isolation]
