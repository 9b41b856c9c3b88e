"""A ledger that is missing ends a worker; one that a broker does not know for a moment does not."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from saec.kafka.membership import Membership, MembershipError
from saec.settings import Settings

MISSING = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "no such topic")
AWAY = KafkaException(KafkaError(KafkaError._TRANSPORT))


class Told:
    """A consumer that is told these errors, poll by poll, and then what the metadata says."""

    def __init__(self, polls: list[KafkaError | None], asked: list[object]) -> None:
        self.polls, self.asked = polls, asked

    def poll(self, _timeout_s: float) -> Any:
        """The next error; nothing after the last."""
        error = self.polls.pop(0) if self.polls else None
        return None if error is None else SimpleNamespace(error=lambda: error)

    def list_topics(self, topic: str, _timeout_s: float) -> Any:
        """The next answer."""
        answer = self.asked.pop(0)
        if isinstance(answer, KafkaException):
            raise answer
        return SimpleNamespace(topics={topic: SimpleNamespace(error=answer)})


def member(polls: list[KafkaError | None], asked: list[object], bound_s: float) -> Membership:
    """A member of the group whose consumer is told this."""
    made = Membership(Settings(bootstrap_servers="127.0.0.1:1"), print, print)
    made.close()
    told: Any = Told(polls, asked)
    made._consumer, made.missing_bound_s = told, bound_s
    return made


def test_what_a_broker_says_for_a_moment_is_waited_for() -> None:
    waiting = member([MISSING], [], bound_s=3_600.0)
    for _ in range(3):
        waiting.poll(0)


def test_a_ledger_that_is_there_again_is_forgotten() -> None:
    again = member([MISSING], [AWAY, None], bound_s=0.0)
    for _ in range(5):
        again.poll(0)
    assert again._missing_since_s is None


def test_a_ledger_that_stays_missing_ends_the_worker() -> None:
    gone = member([MISSING], [AWAY, MISSING], bound_s=0.0)
    gone.poll(0)
    with pytest.raises(MembershipError, match="run `saec init`"):
        gone.poll(0)


def test_what_is_not_allowed_ends_it_at_once() -> None:
    refused = member([KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)], [], bound_s=3_600.0)
    with pytest.raises(MembershipError):
        refused.poll(0)
