"""The process that keeps the registry of customers: `python -m consumers.customers`.

Reads saec.customers and keeps addresses and consents in PostgreSQL; an invalid address is kept out
and answered on saec.status. Run any number of them: they share the partitions.
"""

import sys

from saec import process
from saec.clock import SystemClock
from saec.ingest.customers import CustomerIntake
from saec.ingest.loop import IngestLoop, opener
from saec.settings import Settings
from saec.store.engine import open_engine
from saec.store.installation import Installation

ROLE = "customers"


def main() -> int:
    """Run until SIGTERM; the exit code."""
    settings, clock = Settings(), SystemClock()
    engine = open_engine(settings.database_url, application=f"saec-{ROLE}")

    def make(_stands: Installation) -> IngestLoop:
        intake = opener(settings, engine, ROLE, settings.topics.customers)
        return IngestLoop(intake, CustomerIntake(settings, engine), clock, ROLE)

    return process.run(ROLE, settings, clock, make)


if __name__ == "__main__":
    sys.exit(main())
