"""Who may do what on the brokers: the least that each process and each partner needs.

Invariant: what stands here is what the tests run every process with; docs/security.md shows it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from saec.contracts.events import Channel
from saec.kafka.forward import ROLE
from saec.kafka.survey import INTERNAL_TOPICS
from saec.settings import Settings

_OPTIONS = {"topic": "--topic", "group": "--group", "transactional-id": "--transactional-id"}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a principal may do with a resource. `prefixed`: with all whose names begin so."""

    role: str
    principal: str
    resource: str
    name: str
    operations: tuple[str, ...]
    prefixed: bool = False

    @property
    def command(self) -> str:
        """The line for Kafka's own tool; where the broker is, its reader adds."""
        operations = " ".join(f"--operation {operation}" for operation in self.operations)
        pattern = " --resource-pattern-type prefixed" if self.prefixed else ""
        return (
            f"kafka-acls.sh --add --allow-principal '{self.principal}' {operations} "
            f"{_OPTIONS[self.resource]} '{self.name}'{pattern}"
        )


def rules(settings: Settings) -> list[Rule]:
    """Every rule of the installation, role by role."""
    prefix = settings.topic_prefix
    return [
        Rule(role, f"User:{prefix}{role}", resource, name, operations, prefixed=prefixed)
        for role, resource, name, operations, prefixed in _rules(settings)
    ]


_Line = tuple[str, str, str, tuple[str, ...], bool]


def _rules(settings: Settings) -> Iterator[_Line]:
    names, prefix = settings.topics, settings.topic_prefix
    yield "init", "topic", prefix, ("Create", "Describe", "DescribeConfigs"), True
    for role, source in (("requests", names.requests), ("customers", names.customers)):
        yield role, "topic", prefix, ("Describe", "DescribeConfigs"), True
        yield role, "topic", source, ("Read",), False
        if role == "requests":
            # A database behind the ledger went back in time: its answers to cancels would be false.
            yield role, "topic", names.ledger, ("Read",), False
        else:
            yield role, "topic", names.registry, ("Write",), False
        yield role, "topic", names.status, ("Write",), False
        yield role, "topic", names.rejected, ("Write",), False
        yield role, "group", settings.group_id(role), ("Read",), False
        yield role, "transactional-id", f"{prefix}{role}.", ("Write",), True
    yield from _dispatch(settings)
    yield from _requesters(settings)
    yield "http", "topic", prefix, ("Describe",), True
    yield "http", "topic", names.requests, ("Write",), False
    yield "http", "topic", names.status, ("Read",), False
    yield "http", "group", settings.group_id("reader"), ("Describe",), False
    yield "registry", "topic", names.customers, ("Write",), False
    for channel in Channel:
        role = f"sender-{channel.lower()}"
        yield role, "topic", names.dispatch[channel], ("Read",), False
        yield role, "group", settings.group_id(role), ("Read",), False
    yield from _replay(settings)
    yield "auditor", "topic", prefix, ("Describe", "DescribeConfigs"), True
    for internal in INTERNAL_TOPICS:
        yield "auditor", "topic", internal, ("Describe", "DescribeConfigs"), False
    yield "auditor", "topic", names.status, ("Read",), False
    yield "auditor", "group", prefix, ("Describe",), True
    # It reads messages, and with them addresses: no right that the auditor should have.
    yield "historian", "topic", prefix, ("Describe",), True
    for topic in (names.requests, *names.dispatch.values(), names.status, names.ledger):
        yield "historian", "topic", topic, ("Read",), False
    yield "historian", "group", settings.group_id("reader"), ("Describe",), False
    # Up to where an audit can expect an answer.
    yield "historian", "group", settings.group_id("requests"), ("Describe",), False


def _requesters(settings: Settings) -> Iterator[_Line]:
    """Who schedules: everybody by the one topic, or each by a topic that binds its name."""
    names = settings.topics
    for topic, requester in settings.requester_topics.items():
        yield ROLE, "topic", topic, ("Read",), False
        yield f"requester-{requester}", "topic", topic, ("Write",), False
        yield f"requester-{requester}", "topic", names.status, ("Read",), False
        yield f"requester-{requester}", "group", settings.group_id("reader"), ("Describe",), False
    if settings.requesters:
        yield ROLE, "topic", settings.topic_prefix, ("Describe", "DescribeConfigs"), True
        yield ROLE, "topic", names.requests, ("Write",), False
        yield ROLE, "group", settings.group_id(ROLE), ("Read",), False
        yield ROLE, "transactional-id", f"{settings.group_id(ROLE)}.", ("Write",), True
        return
    yield "requester", "topic", names.requests, ("Write",), False
    yield "requester", "topic", names.status, ("Read",), False
    yield "requester", "group", settings.group_id("reader"), ("Describe",), False


def _dispatch(settings: Settings) -> Iterator[_Line]:
    names, prefix = settings.topics, settings.topic_prefix
    yield "dispatch", "topic", prefix, ("Describe", "DescribeConfigs"), True
    for topic in names.dispatch.values():
        yield "dispatch", "topic", topic, ("Write",), False
    yield "dispatch", "topic", names.status, ("Write",), False
    yield "dispatch", "topic", names.ledger, ("Read", "Write"), False
    yield "dispatch", "group", settings.group_id("dispatch"), ("Read",), False
    yield "dispatch", "group", settings.group_id("ledger-reader"), ("Describe",), False
    # How far they were answered: a database behind that went back in time.
    for role in ("requests", "customers"):
        yield "dispatch", "group", settings.group_id(role), ("Describe",), False
    # Of all workers: who takes a shard over fences its last owner by that owner's id.
    yield "dispatch", "transactional-id", f"{prefix}dispatch.", ("Write",), True


def _replay(settings: Settings) -> Iterator[_Line]:
    """Reads every topic of the installation, and writes what is named after it."""
    names, prefix = settings.topics, settings.topic_prefix
    yield "replay", "topic", prefix, ("Describe", "DescribeConfigs", "Read"), True
    yield "replay", "topic", f"{prefix}replay.", ("Create", "Write"), True
    # How far each replay came.
    yield "replay", "topic", names.replays, ("Create", "Write"), False
    yield "replay", "group", settings.group_id("reader"), ("Describe",), False
    yield "replay", "transactional-id", f"{prefix}replay.", ("Write",), True
