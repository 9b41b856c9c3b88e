"""Runs the checks, each by itself: one that fails says so and does not hold up the others.

Invariant: both sides are asked whether they answer; what needs one that does not is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass

from saec.clock import Clock, SystemClock
from saec.doctor import broker, clocks, encryption, progress, store, topics
from saec.doctor.findings import Finding, Level, error
from saec.doctor.patient import Patient
from saec.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    SaecError,
    StoreUnavailableError,
)
from saec.kafka.survey import Survey
from saec.settings import Settings
from saec.store import installation
from saec.store.engine import Engine, open_engine, transaction

_EXTRA_WAIT_S = 10.0

Check = Callable[[Patient], list[Finding]]
# By name, and by what they need: Kafka alone, the database alone, both.
KAFKA: dict[str, Check] = {
    "broker_version": broker.version,
    "kafka_encryption": encryption.kafka,
    "replication": broker.replication,
    "append_time": topics.append_time,
    "topic_settings": topics.settings,
    "retention": topics.retention,
    "requests_lag": progress.requests_lag,
    "customers_lag": progress.customers_lag,
    "requesters_lag": progress.requesters_lag,
    "hanging_transactions": progress.hanging_transactions,
}
STORE: dict[str, Check] = {
    "local_clock": clocks.local,
    "postgresql_encryption": encryption.postgresql,
}
BOTH: dict[str, Check] = {
    "topics": topics.presence,
    "broker_clock": clocks.broker,
    "postgresql_settings": store.durability,
    "positions": progress.positions,
    "ledger": progress.ledger,
    "halted_shards": progress.halted_shards,
    "unowned_shards": progress.unowned_shards,
    "overdue": progress.overdue,
}
# Whether they answer, and belong together: looked at first.
FIRST = ("kafka", "postgresql", "schema")


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, and whether a part did not answer at all."""

    findings: list[Finding]
    unreachable: bool

    @property
    def level(self) -> Level:
        """The worst of the findings."""
        found = {finding.level for finding in self.findings}
        return next((x for x in (Level.ERROR, Level.WARNING) if x in found), Level.OK)


def examine(
    settings: Settings,
    wall_ms: Callable[[], int],
    *,
    wait_s: float | None = None,
    clock: Clock | None = None,
) -> Report:
    """Look at the installation. `wait_s` is how long an open transaction may take to end.

    By default that is the time after which dispatch itself takes it for one that hangs.
    """
    if wait_s is None:
        wait_s = settings.transaction_timeout_s + _EXTRA_WAIT_S
    engine = open_engine(settings.database_url, application="saec-doctor")
    try:
        survey = Survey(settings)
        patient = Patient(settings, engine, survey, clock or SystemClock(), wall_ms, wait_s)
        return _examine(patient, engine, survey)
    finally:
        engine.dispose()


def _examine(patient: Patient, engine: Engine, survey: Survey) -> Report:
    kafka, kafka_answers = _kafka(survey)
    stored, store_answers, fits = _store(patient.settings, engine)
    findings = [*kafka, *stored]
    checks = {
        **(KAFKA if kafka_answers else {}),
        **(STORE if store_answers else {}),
        **(BOTH if kafka_answers and fits else {}),
    }
    for name, check in checks.items():
        findings += _guarded(name, check, patient)
    return Report(findings, unreachable=not (kafka_answers and store_answers))


def _kafka(survey: Survey) -> tuple[list[Finding], bool]:
    name = "kafka"
    try:
        found = f"answers, and shows {len(survey.topics)} topics"
    except BrokerUnavailableError as failure:
        advice = "Check SAEC_BOOTSTRAP_SERVERS and SAEC_KAFKA, and that Kafka runs."
        if "AUTHORIZATION_FAILED" in str(failure):
            advice = "Grant this user what the auditor has: `saec acls`, docs/security.md."
        return [error(name, str(failure), advice)], False
    return [Finding(name, Level.OK, found)], True


def _store(settings: Settings, engine: Engine) -> tuple[list[Finding], bool, bool]:
    """What was found, whether PostgreSQL answers, and whether its tables are ours."""
    name = "schema"
    try:
        with transaction(engine, snapshot=True) as connection:
            stands = installation.read(connection, settings.topic_prefix)
    except StoreUnavailableError as failure:
        advice = "Check SAEC_DATABASE_URL, and that PostgreSQL runs."
        return [error("postgresql", str(failure), advice)], False, False
    except ConfigurationError as failure:
        advice = "Bring both together, then look again."
        return [error(name, str(failure), advice)], True, False
    found = f"of this release, for the prefix {stands.topic_prefix}, {stands.shards} shards"
    return [Finding(name, Level.OK, found)], True, True


def _guarded(name: str, check: Check, patient: Patient) -> list[Finding]:
    try:
        return check(patient)
    except SaecError as failure:
        advice = "Look again; if it stays, check that this user may see it (docs/security.md)."
        return [error(name, f"could not be looked at: {failure}", advice)]
    except Exception as failure:  # its own words might quote what a stranger wrote
        advice = "This Kafka or PostgreSQL answered what SAEC did not expect: tell its developers."
        return [error(name, f"could not be looked at: {type(failure).__name__}", advice)]
