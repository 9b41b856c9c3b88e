"""The steps and mutations that the harness patches are there; renaming one must not go unseen."""

import subprocess
import sys
from pathlib import Path

import pytest

from faults.launcher import find
from faults.mutations import FOCUS, MUTATIONS
from faults.recovering import STEPS
from faults.schedule import KINDS, SHARES, Faults
from faults.steps import BASE, COMMITS, INNER, KAFKA_COMMITS, MODULES, REQUIRED, STORE_COMMITS

ROOT = Path(__file__).resolve().parents[2]
TARGETS = sorted(
    {
        *INNER.values(),
        *STEPS.values(),
        *(target for steps in BASE.values() for target in steps.values()),
    }
)


@pytest.mark.parametrize("target", TARGETS)
def test_a_step_is_a_function(target: str) -> None:
    assert callable(find(target)[2])


def test_steps_belong_to_roles_and_inner_ones_to_base_steps() -> None:
    assert BASE.keys() == MODULES.keys() == {role for role, _ in REQUIRED}
    for role, name in REQUIRED:
        base, _, inner = name.partition("/")
        assert base in BASE[role]
        assert not inner or inner in INNER
    assert {*KAFKA_COMMITS, *STORE_COMMITS} == {*COMMITS}


def test_each_kind_of_fault_can_be_struck() -> None:
    for kind in SHARES:
        name = "die_at" if kind == "die at a step" else kind.replace(" ", "_").lower()
        assert callable(getattr(Faults, f"_{name}"))
    assert all(share > 0 for share in SHARES.values())
    assert {kind for focus in FOCUS.values() for kind in focus.kinds} <= {*KINDS}


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_mutation_changes_saec(name: str) -> None:
    """In a process of its own: it is not undone."""
    program = (
        "import sys\n"
        "from faults import mutations\n"
        "places = [mutations.takeover, mutations.cancels, mutations.IngestLoop, mutations.Ledger,\n"
        "          mutations.TransactionalProducer, mutations.shards, mutations.intake,\n"
        "          mutations.RollForward, mutations.Recovery, mutations.recover_cancels,\n"
        "          mutations.StoredPositions, mutations.ground.GroundWatch,\n"
        "          mutations.store_cancels, mutations.RequestIntake, mutations.unreadable]\n"
        "before = [dict(vars(place)) for place in places]\n"
        "mutations.apply(sys.argv[1])\n"
        "changed = [name for place, was in zip(places, before)\n"
        "           for name, value in vars(place).items() if was.get(name) is not value]\n"
        "assert changed, 'nothing was changed'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, name], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
