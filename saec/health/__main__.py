"""Whether a process is at work, asked on the same machine: `python -m saec.health ROLE`.

Meant as the health check of a container that runs one process; needs neither Kafka nor PostgreSQL.
"""

import argparse
import sys
import time

from saec.errors import SaecError
from saec.health import beat
from saec.health.judge import Verdict, judge
from saec.settings import Settings, load_settings

ROLES = ("requests", "customers", "dispatch", "requesters")


def examine(settings: Settings, role: str, now_s: float) -> Verdict:
    """How the processes of this role are."""
    try:
        return judge(role, beat.read(settings, role), now_s)
    except SaecError as error:
        return Verdict(False, f"{role}: {error}")


def main() -> int:
    """Exit code 0 when healthy, 1 when not; one line says why."""
    parser = argparse.ArgumentParser(prog="python -m saec.health", description=__doc__)
    parser.add_argument("role", choices=ROLES)
    role = parser.parse_args().role
    try:
        verdict = examine(load_settings(), role, time.monotonic())
    except SaecError as error:
        verdict = Verdict(False, f"{role}: {error}")
    sys.stdout.write(f"{verdict.line}\n")
    return 0 if verdict.healthy else 1


if __name__ == "__main__":
    sys.exit(main())
