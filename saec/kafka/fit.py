"""Whether the topics that stand are such that every record of theirs can be taken and answered.

Invariant: what decides verdicts is refused, the rest is told; what may not be seen is passed over.
"""

from collections.abc import Iterator, Mapping

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from saec.errors import ConfigurationError
from saec.kafka import clients
from saec.kafka.topics import COMPRESSION, specifications
from saec.settings import Settings

_TIMEOUT_S = 10.0
_STAMP = "message.timestamp.type"
_SIZE = "max.message.bytes"
_ALTER = "kafka-configs.sh --alter --entity-type topics --entity-name"

Configs = Mapping[str, Mapping[str, str | None]]
"""topic -> setting -> value; without those that may not be seen."""


def check(settings: Settings, shards: int) -> list[str]:
    """What to tell of topics that stand, and do not stop anybody.

    Raises:
        ConfigurationError: a source topic does not stamp; says what to do.
    """
    wanted = specifications(settings, shards)
    found = _configs(settings, [spec.name for spec in wanted])
    for spec in wanted:
        stamp = found.get(spec.name, {}).get(_STAMP)
        if _STAMP in spec.config and stamp not in {None, spec.config[_STAMP]}:
            pair = f"{_STAMP}={spec.config[_STAMP]}"
            raise ConfigurationError(
                f"{spec.name} must have {pair}, since verdicts depend on the append time: "
                f"`{_ALTER} {spec.name} --add-config {pair}`"
            )
    return list(_told(settings, shards, found))


def _told(settings: Settings, shards: int, found: Configs) -> Iterator[str]:
    for spec in specifications(settings, shards):
        have = found.get(spec.name, {})
        size, compression = have.get(_SIZE), have.get(COMPRESSION)
        if size is not None and int(size) < int(spec.config[_SIZE]):
            pair = f"{_SIZE}={spec.config[_SIZE]}"
            yield (
                f"{spec.name} takes records of {size} bytes at most, so not all that is accepted "
                f"fits: `{_ALTER} {spec.name} --add-config {pair}`"
            )
        if compression is not None and spec.config.get(COMPRESSION, compression) != compression:
            pair = f"{COMPRESSION}={spec.config[COMPRESSION]}"
            yield (
                f"{spec.name} takes records of any size, if they are small compressed: "
                f"`{_ALTER} {spec.name} --add-config {pair}`; see docs/operations.md, Memory"
            )


def _configs(settings: Settings, names: list[str]) -> Configs:
    admin = clients.admin(settings)  # named: what it was asked ends with it
    asked = {ConfigResource(ResourceType.TOPIC, name): name for name in names}
    found = {}
    try:
        answers = admin.describe_configs(list(asked), request_timeout=_TIMEOUT_S)
    except KafkaException:
        return {}
    for resource, answer in answers.items():
        try:
            entries = answer.result()
        except KafkaException:
            continue  # not allowed to, or the broker tells nobody
        found[asked[resource]] = {name: entry.value for name, entry in entries.items()}
    return found
