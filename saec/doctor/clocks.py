"""Three clocks: PostgreSQL's decides what is due, the broker's what was asked for in time.

The broker's can only be seen in what it stamped: one that is behind cannot be told from a topic
where nothing was published lately, one that is ahead can.
"""

from saec.doctor.findings import Finding, error, or_fine, warning
from saec.doctor.patient import Patient

_BOUND_MS = 1_000
_SYNCHRONISE = "Synchronise the clocks (NTP)."


def local(patient: Patient) -> list[Finding]:
    """This machine's clock against PostgreSQL's, give or take the time of asking."""
    before_ms = patient.wall_ms()
    stored_ms = patient.database_now_ms()
    after_ms = patient.wall_ms()
    ahead_ms = max(before_ms - stored_ms, 0) or min(after_ms - stored_ms, 0)
    name, bad = "local_clock", []
    if abs(ahead_ms) > _BOUND_MS:
        waits = -ahead_ms > patient.settings.clock_ahead_s * 1_000
        found = f"{_away(ahead_ms)} PostgreSQL's"
        found += ", so a worker with this clock sends nothing" if waits else ""
        advice = f"{_SYNCHRONISE} PostgreSQL's decides what is due."
        bad.append((error if waits else warning)(name, found, advice))
    return or_fine(name, bad, f"within {_BOUND_MS} ms of PostgreSQL's")


def broker(patient: Patient) -> list[Finding]:
    """Append times that PostgreSQL's clock has not reached yet: the brokers' clock is ahead."""
    name, names = "broker_clock", patient.settings.topics
    sources = [t for t in (names.requests, names.customers) if t in patient.survey.topics]
    newest = [at for topic in sources if (at := patient.survey.newest_ms(topic)) is not None]
    if not newest:
        return or_fine(name, [], "not seen: nothing was published yet")
    ahead_ms = max(newest) - patient.database_now_ms()
    if ahead_ms <= _BOUND_MS:
        return or_fine(name, [], "not ahead of PostgreSQL's")
    refuses = ahead_ms > patient.settings.grace_s * 1_000
    found = f"{_away(ahead_ms)} PostgreSQL's"
    found += ", so requests that are due now are refused" if refuses else ""
    return [(error if refuses else warning)(name, found, _SYNCHRONISE)]


def _away(ahead_ms: int) -> str:
    return f"{abs(ahead_ms):,} ms {'ahead of' if ahead_ms > 0 else 'behind'}"
