"""Topics made other than `saec init` makes them: of an older release, or altered by a person."""

import threading
import time

from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from saec.settings import Settings

_TIMEOUT_S = 60


def alter(settings: Settings, topic: str, **pairs: str) -> None:
    """Set properties of a topic (`max_message_bytes`), and wait until its broker knows."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    wanted = {name.replace("_", "."): value for name, value in pairs.items()}
    change = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in wanted.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=change)
    admin.incremental_alter_configs([resource])[resource].result(_TIMEOUT_S)
    until_s, tries = time.monotonic() + _TIMEOUT_S, threading.Event()
    while not wanted.items() <= _have(admin, topic).items():
        assert time.monotonic() < until_s
        tries.wait(0.02)


def take_compressed(settings: Settings, *topics: str) -> None:
    """Let topics take whatever is small compressed, as those of older releases do."""
    for topic in topics or (settings.topics.requests, settings.topics.customers):
        alter(settings, topic, compression_type="producer")


def _have(admin: AdminClient, topic: str) -> dict[str, str | None]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    found = admin.describe_configs([resource])[resource].result(_TIMEOUT_S)
    return {name: entry.value for name, entry in found.items()}
