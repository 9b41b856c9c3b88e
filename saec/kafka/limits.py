"""What a topic takes.

Invariant: asked of the broker each time, and never guessed.
"""

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, ConfigResource, ResourceType

from saec.contracts.events import Channel
from saec.errors import BrokerUnavailableError
from saec.kafka import clients
from saec.settings import Settings

_TIMEOUT_S = 10.0


def largest_bytes(settings: Settings, topic: str) -> int:
    """The `max.message.bytes` of a topic: of a batch of records, as they travel.

    Raises:
        BrokerUnavailableError: no answer, or it may not be seen (DescribeConfigs).
    """
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = clients.admin(settings)  # named: what it was asked ends with it
    try:
        asked = admin.describe_configs([resource], request_timeout=_TIMEOUT_S)
        return int(asked[resource].result()["max.message.bytes"].value)
    except KafkaException as error:
        raise BrokerUnavailableError(
            f"the configuration of {topic}: {error.args[0].str()}"
        ) from None


def denied_channels(settings: Settings) -> Sequence[Channel]:
    """The channels whose topic this process may not write to.

    Raises:
        BrokerUnavailableError: no answer.
    """
    topics = settings.topics.dispatch
    admin = clients.admin(settings)  # named: what it was asked ends with it
    asked = admin.describe_topics(
        TopicCollection([*topics.values()]),
        include_authorized_operations=True,
        request_timeout=_TIMEOUT_S,
    )
    denied = []
    for channel, topic in topics.items():
        try:
            allowed = asked[topic].result().authorized_operations
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise BrokerUnavailableError(f"{topic}: {error.args[0].str()}") from None
            allowed = []
        if allowed is not None and AclOperation.WRITE not in allowed:
            denied.append(channel)
    return denied
