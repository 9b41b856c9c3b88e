"""What a topic takes.

Invariant: asked of the broker each time, and never guessed.
"""

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

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
