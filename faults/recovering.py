"""Runs `saec recover` with its steps patched: `python -m faults.recovering recover --json`.

As the launcher does with the processes. Invariant: it is the command that an operator types, and a
trap of the harness can end it before or after each of its steps.
"""

import os

from faults import mutations
from faults.launcher import CONTROL, MUTATION, Steps
from faults.steps import INNER
from saec.cli import main

ROLE = "recover"
STEPS = {
    name: f"saec.recover.run:Recovery._{name.replace(' ', '_')}"
    for name in (
        "take shards",
        "store requests",
        "store ahead",
        "store customers",
        "roll forward",
        "restore cancels",
        "finish",
    )
}
_COMMIT = "store commit"


def run() -> None:
    """Patch, then run the command."""
    mutation = os.environ.get(MUTATION)
    if mutation:
        mutations.apply(mutation)
    steps = Steps(ROLE, os.environ[CONTROL])
    for step, target in STEPS.items():
        steps.patch(step, target, inner=False)
    steps.patch(_COMMIT, INNER[_COMMIT], inner=True)
    main()


if __name__ == "__main__":
    run()
