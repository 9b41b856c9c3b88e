"""Whether the topics are there, and like what `saec init` creates."""

from collections.abc import Iterator

from saec.doctor.findings import Finding, error, or_fine, some, warning
from saec.doctor.patient import Patient
from saec.kafka.topics import COMPRESSION, TopicSpec, specifications

_DAY_MS = 86_400_000
_STAMP = "message.timestamp.type"
_ALTER = "Alter the topic: `kafka-configs.sh --alter --entity-type topics --entity-name"


def presence(patient: Patient) -> list[Finding]:
    """Every topic is there, and the ledger has a partition a shard."""
    name, there = "topics", patient.survey.topics
    missing = [topic for topic in patient.settings.all_topics if topic not in there]
    bad = []
    if missing:
        bad.append(error(name, f"missing: {some(missing)}", "Run `saec init`."))
    ledger = there.get(patient.settings.topics.ledger)
    shards = len(patient.stored.shards)
    if ledger is not None and ledger.partitions != shards:
        bad.append(
            error(
                name,
                f"{ledger.name} has {ledger.partitions} partitions, the database {shards} shards",
                "They belong to different installations: set SAEC_TOPIC_PREFIX or "
                "SAEC_DATABASE_URL to match. Never add partitions to the ledger.",
            )
        )
    return or_fine(name, bad, f"all {len(patient.settings.all_topics)} are there")


def append_time(patient: Patient) -> list[Finding]:
    """Verdicts depend on the append time."""
    name = "append_time"
    bad = [
        error(
            name, f"{spec.name} has {_STAMP}={have}", f"{_ALTER} {spec.name} --add-config {pair}`."
        )
        for spec, have, pair in _differing(patient, _STAMP)
    ]
    bad += _unreported(patient, name, _STAMP)
    return or_fine(name, bad, "the broker stamps requests and customers")


def settings(patient: Patient) -> list[Finding]:
    """Cleanup, sizes, and how long an erasure stays readable."""
    return or_fine("topic_settings", _settings(patient), "as `saec init` creates them")


def _settings(patient: Patient) -> Iterator[Finding]:
    name = "topic_settings"
    yield from _unreported(
        patient, name, "cleanup.policy", "max.message.bytes", "delete.retention.ms"
    )
    for spec, have, pair in _differing(patient, "cleanup.policy"):
        advice = f"{_ALTER} {spec.name} --add-config {pair}`."
        yield error(name, f"{spec.name} has cleanup.policy={have}", advice)
    yield from _sizes(patient)
    for spec, have, pair in _differing(patient, COMPRESSION):
        yield warning(
            name,
            f"{spec.name} has {COMPRESSION}={have}: it takes records that are small compressed, "
            "and as large as you like when they are read",
            f"{_ALTER} {spec.name} --add-config {pair}`. Until the records that stand there are "
            "gone, give who reads them the memory of docs/operations.md.",
        )
    for spec, have, pair in _differing(patient, "delete.retention.ms"):
        if int(have) < int(spec.config["delete.retention.ms"]):
            yield warning(
                name,
                f"{spec.name} keeps erasures for {_days(have)} after compaction only",
                f"{_ALTER} {spec.name} --add-config {pair}`.",
            )
    yield from _lingering(patient)


def _lingering(patient: Patient) -> Iterator[Finding]:
    """What is deleted or erased is gone when its segment is, or is compacted."""
    for key in ("segment.ms", "max.compaction.lag.ms"):
        for spec, have, pair in _differing(patient, key):
            if int(have) > int(spec.config[key]):
                yield warning(
                    "topic_settings",
                    f"{spec.name} has {key} of {_days(have)}: it keeps what is to go, addresses "
                    "too, for that much longer",
                    f"{_ALTER} {spec.name} --add-config {pair}`.",
                )


def _sizes(patient: Patient) -> Iterator[Finding]:
    """What does not fit a source is refused to its producer; elsewhere SAEC itself stands still."""
    names = patient.settings.topics
    for spec, have, pair in _differing(patient, "max.message.bytes"):
        if int(have) >= int(spec.config["max.message.bytes"]):
            continue
        source = spec.name in {names.requests, names.customers}
        yield (warning if source else error)(
            "topic_settings",
            f"{spec.name} takes records of {have} bytes at most",
            f"{_ALTER} {spec.name} --add-config {pair}`"
            + ("." if source else ": what is accepted must fit, and a refused record's copy."),
        )


def retention(patient: Patient) -> list[Finding]:
    """Kept as long as somebody may need it, and no longer where it is somebody's address."""
    return or_fine("retention", _retention(patient), "as long as the settings say")


def _retention(patient: Patient) -> Iterator[Finding]:
    name, chosen = "retention", patient.settings
    names = chosen.topics
    yield from _unreported(patient, name, "retention.ms")
    for spec, have, pair in _differing(patient, "retention.ms"):
        wanted = spec.config["retention.ms"]
        advice = f"{_ALTER} {spec.name} --add-config {pair}`."
        shorter = 0 <= int(have) < int(wanted)
        if shorter and spec.name == names.ledger:
            yield error(
                name,
                f"{spec.name} is kept for {_days(have)}, but a backup may be {_days(wanted)} old "
                "(SAEC_LEDGER_RETENTION_DAYS)",
                f"{advice} Until then do not restore a backup older than {_days(have)}.",
            )
        elif shorter and spec.name == names.requests:
            continue  # against the horizon, below
        elif shorter:
            yield warning(name, f"{spec.name} is kept for {_days(have)}", advice)
        elif spec.name in {*names.dispatch.values(), names.customers}:
            kept = "for ever" if int(have) < 0 else f"for {_days(have)}"
            yield warning(name, f"{spec.name} carries addresses and is kept {kept}", advice)
    yield from _requests_retention(patient)
    for topic in (names.requests, names.ledger):
        state = patient.survey.topics.get(topic)
        size = state.config.get("retention.bytes", "-1") if state else "-1"
        if int(size) >= 0:
            yield warning(
                name,
                f"{topic} is cut at {size} bytes a partition, however young",
                f"{_ALTER} {topic} --add-config retention.bytes=-1`.",
            )


def _requests_retention(patient: Patient) -> Iterator[Finding]:
    topic = patient.settings.topics.requests
    state, horizon_ms = patient.survey.topics.get(topic), patient.settings.horizon_days * _DAY_MS
    kept = state.config.get("retention.ms", "-1") if state else "-1"
    if 0 <= int(kept) <= horizon_ms:
        yield error(
            "retention",
            f"{topic} is kept for {_days(kept)}, but requests may be due in "
            f"{patient.settings.horizon_days} days (SAEC_HORIZON_DAYS)",
            f"{_ALTER} {topic} --add-config "
            f"retention.ms={patient.settings.requests_retention_days * _DAY_MS}`, "
            "or shorten the horizon.",
        )


def _differing(patient: Patient, key: str) -> Iterator[tuple[TopicSpec, str, str]]:
    """The topics where `key` is not as specified: (specification, what it is, key=wanted)."""
    for spec, wanted in _specified(patient, key):
        have = patient.survey.topics[spec.name].config.get(key, wanted)
        if have != wanted:
            yield spec, have, f"{key}={wanted}"


def _unreported(patient: Patient, check: str, *keys: str) -> Iterator[Finding]:
    """Brokers that only speak as Kafka does need not know every setting."""
    for key in keys:
        silent = [
            (spec.name, wanted)
            for spec, wanted in _specified(patient, key)
            if key not in patient.survey.topics[spec.name].config
        ]
        if silent:
            pairs = some(f"{name} ({wanted})" for name, wanted in silent)
            yield warning(
                check,
                f"{key} is not reported by this broker: {some(name for name, _ in silent)}",
                f"Look at it with the tools of whoever runs the broker; it should be: {pairs}.",
            )


def _specified(patient: Patient, key: str) -> list[tuple[TopicSpec, str]]:
    """The topics that are there and for which `key` is specified, with what it should be."""
    specs = specifications(patient.settings, patient.settings.shards)
    there = patient.survey.topics
    return [(s, s.config[key]) for s in specs if key in s.config and s.name in there]


def _days(milliseconds: str) -> str:
    return f"{int(milliseconds) / _DAY_MS:.3g} days"
