"""Whether PostgreSQL keeps what it committed, and takes what is written."""

from saec.doctor.findings import Finding, error, or_fine
from saec.doctor.patient import Patient


def durability(patient: Patient) -> list[Finding]:
    """What SAEC answered rests on what PostgreSQL committed."""
    name, stands = "postgresql_settings", patient.stored.durability
    settings = {
        "fsync": stands.fsync,
        "full_page_writes": stands.full_page_writes,
        "synchronous_commit": stands.synchronous_commit,
    }
    bad = [
        error(name, f"{setting} is off, so a commit can be lost in a crash", "Turn it on.")
        for setting, on in settings.items()
        if not on
    ]
    if not stands.writable:
        advice = "Point SAEC_DATABASE_URL at the primary, and let it be written to."
        bad.append(error(name, "it is a standby, or read-only", advice))
    return or_fine(name, bad, "it keeps what it commits")
