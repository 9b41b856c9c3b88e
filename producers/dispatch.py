"""The process that dispatches what is due: `python -m producers.dispatch`.

Publishes one message per customer and channel to saec.dispatch.*, exactly once. Run any number of
them: they share the shards and take over from one another.
"""

import sys

from saec import process
from saec.clock import SystemClock
from saec.dispatch.round import Worker
from saec.settings import Settings
from saec.store.engine import open_engine
from saec.store.installation import Installation

ROLE = "dispatch"


def main() -> int:
    """Run until SIGTERM; the exit code."""
    settings, clock = Settings(), SystemClock()
    engine = open_engine(settings.database_url, application=f"saec-{ROLE}")

    def make(_stands: Installation) -> Worker:
        return Worker(settings, engine, clock)

    return process.run(ROLE, settings, clock, make)


if __name__ == "__main__":
    sys.exit(main())
