"""Reads the channel topics and the answers, as a sender and a requester would."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from saec.contracts.dispatch import decode_dispatch
from saec.contracts.rejected import RejectedError
from saec.contracts.status import RequestStatus, decode_status
from saec.demo.verdict import Seen
from saec.kafka.follow import Beginning, read_whole
from saec.kafka.records import Incoming
from saec.settings import Settings, Topics


@dataclass(slots=True)
class Reading:
    """What was read, decoded."""

    messages: list[Seen] = field(default_factory=list)
    statuses: list[RequestStatus] = field(default_factory=list)
    unreadable: int = 0


def names(topics: Topics) -> list[str]:
    """The topics that the demo reads."""
    return [*topics.dispatch.values(), topics.status]


def decode(topics: Topics, records: Iterable[Incoming]) -> Reading:
    """The messages and answers in these records."""
    channels = {topic: channel for channel, topic in topics.dispatch.items()}
    reading = Reading()
    for record in records:
        value = record.value or b""
        try:
            if record.topic == topics.status:
                reading.statuses.append(decode_status(value))
            else:
                message = decode_dispatch(value)
                seen = Seen(channels[record.topic], message, record.appended_at_ms)
                reading.messages.append(seen)
        except RejectedError:
            reading.unreadable += 1
    return reading


def read_back(settings: Settings) -> Reading:
    """Everything that stands in the topics now, from their beginning."""
    return decode(settings.topics, read_whole(settings, names(settings.topics), Beginning()))
