"""Whether somebody on the way can read or answer what goes to Kafka and PostgreSQL."""

from saec import encryption
from saec.doctor.findings import Finding, or_fine, warning
from saec.doctor.patient import Patient
from saec.encryption import Exposed

_FINE = "encrypted and checked, or on this machine"


def kafka(patient: Patient) -> list[Finding]:
    """By the settings of this process; others have their own."""
    return _told("kafka_encryption", encryption.kafka(patient.settings))


def postgresql(patient: Patient) -> list[Finding]:
    """By the settings of this process; others have their own."""
    return _told("postgresql_encryption", encryption.postgresql(patient.settings))


def _told(name: str, found: Exposed | None) -> list[Finding]:
    return or_fine(name, [] if found is None else [warning(name, found.what, found.advice)], _FINE)
