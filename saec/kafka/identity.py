"""Which cluster and which topics answer behind an address: the ids that Kafka gave them.

Invariant: an id is asked for each time; a topic that was deleted and created again has another one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicCollection

from saec.errors import BrokerUnavailableError
from saec.kafka import clients
from saec.settings import Settings

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Identity:
    """The cluster's id, None when it does not tell, and the id of each topic."""

    cluster_id: str | None
    topic_ids: dict[str, str]


def read_identity(settings: Settings, topics: Iterable[str]) -> Identity:
    """The ids of the cluster and of these topics.

    Raises:
        BrokerUnavailableError: no answer, or a topic is missing.
    """
    admin = clients.admin(settings)
    try:
        cluster_id = admin.list_topics(timeout=_TIMEOUT_S).cluster_id
        asked = admin.describe_topics(TopicCollection(list(topics)), request_timeout=_TIMEOUT_S)
        found = {name: str(future.result().topic_id) for name, future in asked.items()}
    except KafkaException as error:
        raise BrokerUnavailableError(f"no answer from Kafka: {error.args[0].str()}") from None
    return Identity(cluster_id, found)
