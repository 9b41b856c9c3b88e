"""Whether PostgreSQL keeps what it committed, and takes what is written."""

from saec.doctor.findings import Finding, error, or_fine, some, warning
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
    if stands.unbound:
        found = f"{some(stands.unbound)}: not in force, though a transaction set it"
        advice = "Let the pooler hand out sessions or transactions, not statements."
        bad.append(error(name, found, advice))
    if stands.unawaited:
        found = (
            f"standbys: {stands.unawaited}, and a commit waits for none, so a failover can lose "
            "rows whose answers went out"
        )
        advice = "Set synchronous_standby_names: see Asynchronous replication in docs/operations.md"
        bad.append(warning(name, found, f"{advice}."))
    return or_fine(name, bad, "it keeps what it commits")
