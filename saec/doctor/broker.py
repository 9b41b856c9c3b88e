"""What the brokers are, and whether they keep what they acknowledged."""

from collections.abc import Callable, Iterable, Iterator

from saec.doctor.findings import Finding, error, or_fine, some, warning
from saec.doctor.patient import Patient
from saec.kafka.survey import TopicState

_REPLICAS = 3
_MORE = (
    f"In production use {_REPLICAS}: `kafka-reassign-partitions.sh`, and for new topics "
    "SAEC_REPLICATION_FACTOR."
)


def version(patient: Patient) -> list[Finding]:
    """Kafka 4.3.0, 4.3.1 and 4.4.0 lose the end of a transaction."""
    name = "broker_version"
    versions = patient.survey.api_versions()
    if not versions:
        advice = "Look at the release that the brokers run: use 4.2.2, not 4.3.0, 4.3.1 or 4.4.0."
        return [warning(name, "no broker told which APIs it speaks", advice)]
    new = patient.survey.of_4_3()
    advice = (
        "Use 4.2.2. 4.3.0, 4.3.1 and 4.4.0 lose the end of a transaction on a partition without a "
        "leader (KAFKA-20734). A client cannot see which release it is: look at the brokers."
    )
    bad = [error(name, f"Kafka 4.3 or later: {some(new)}", advice)] if new else []
    return or_fine(name, bad, f"{len(versions)} broker(s) older than Kafka 4.3")


def replication(patient: Patient) -> list[Finding]:
    """Whether one broker may be lost without losing what it acknowledged, or standing still."""
    topics = patient.survey.topics.values()
    return or_fine("replication", _replication(topics), "every topic outlives the loss of a broker")


def _replication(topics: Iterable[TopicState]) -> Iterator[Finding]:
    rules: tuple[tuple[Callable[..., Finding], Callable[[TopicState], bool], str, str], ...] = (
        (
            error,
            lambda t: t.in_sync < (_min_insync(t) or 1),
            "fewer replicas in sync than min.insync.replicas, so nothing can be written",
            "Bring the brokers back that are down.",
        ),
        (
            error,
            lambda t: t.config.get("unclean.leader.election.enable") == "true",
            "unclean.leader.election.enable=true, so acknowledged records can be lost",
            "Set it to false.",
        ),
        (
            warning,
            lambda t: t.replicas < _REPLICAS,
            f"fewer than {_REPLICAS} replicas",
            _MORE,
        ),
        (
            warning,
            lambda t: t.replicas > 1 and _min_insync(t) == 1,
            "min.insync.replicas=1, so what one broker alone acknowledged can be lost",
            "Set min.insync.replicas=2.",
        ),
        (
            warning,
            lambda t: 1 < t.replicas <= (_min_insync(t) or 0),
            "as many replicas as min.insync.replicas, so one broker less stops writing",
            f"Use {_REPLICAS} replicas and min.insync.replicas=2.",
        ),
        (
            warning,
            lambda t: (_min_insync(t) or 1) <= t.in_sync < t.replicas,
            "replicas that are not in sync",
            "Bring the brokers back that are down, or look at why they lag.",
        ),
        (
            warning,
            lambda t: _min_insync(t) is None,
            "min.insync.replicas is not reported by this broker",
            "Look at it with the tools of whoever runs the broker; it should be 2.",
        ),
    )
    for make, is_bad, what, advice in rules:
        names = [topic.name for topic in topics if is_bad(topic)]
        if names:
            yield make("replication", f"{what}: {some(names)}", advice)


def _min_insync(topic: TopicState) -> int | None:
    """None: not reported."""
    reported = topic.config.get("min.insync.replicas")
    return None if reported is None else int(reported)
