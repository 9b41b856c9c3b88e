"""The checker: small scopes hold, every mutation is noticed, and the model does what saec does."""

import json
import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from faults.checker import main, readable
from faults.protocol.dispatch import Dispatch
from faults.protocol.mutations import (
    APART,
    APART_TWO,
    FAILOVER,
    FAILOVER_ONE,
    HANGS,
    INGEST,
    LOST_ENDS,
    MARKERS,
    MARKERS_TWO,
    MUTATIONS,
    ONE_SHARD,
    OVERLAP,
    OVERLAP_TWO,
    PARTLY,
    PUT_BACK,
    REFUSED,
    TWO_SHARDS,
    Mutation,
    model,
)
from faults.protocol.search import Found, search
from faults.protocol.sources import Sources

REPOSITORY = Path(__file__).parents[2]

# The scopes of the command with fewer faults: seconds, not a minute.
SMALL = [
    ONE_SHARD._replace(faults=2),
    PARTLY._replace(faults=1),
    TWO_SHARDS._replace(faults=1),
    MARKERS._replace(faults=1),
    MARKERS_TWO,
    OVERLAP._replace(faults=1),
    OVERLAP_TWO._replace(faults=0),
    REFUSED,
    INGEST,
    FAILOVER,
    FAILOVER_ONE,
    PUT_BACK,
    HANGS._replace(partitions=((1,),)),
    APART._replace(faults=2),
    APART_TWO._replace(faults=1),
    LOST_ENDS,
]


@pytest.mark.parametrize("scope", SMALL, ids=lambda scope: str(scope.name))
def test_no_promise_is_broken(scope: Any) -> None:
    found = search(model(scope))
    assert not found.wrong, readable(found)
    assert found.states > 50


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: str(mutation.name))
def test_every_mutation_is_noticed_in_a_scope_that_holds_without_it(mutation: Mutation) -> None:
    whole = search(model(mutation.scope))
    assert not whole.wrong, readable(whole)
    found = search(model(mutation.scope, mutation.name))
    assert found.wrong
    assert len(found.trace) == found.depth


def test_a_counterexample_is_a_shortest_one() -> None:
    """Nothing is wrong in any state that takes fewer steps: looked at level by level, anew."""
    broken = Dispatch(MUTATIONS[0].scope, frozenset({MUTATIONS[0].name}))
    found = search(broken)
    level, known = {broken.first}, {broken.first}
    for _ in range(found.depth):
        assert not any(state.wrong for state in level)
        following = {
            after
            for state in level
            for steps in (broken.free(state), broken.faults(state))
            for _, after in steps
        }
        level = following - known
        known |= level
    assert any(state.wrong for state in level)


def test_names_that_do_not_count_change_nothing() -> None:
    """The same scope without symmetry: more states, the same verdict, and the same depth."""

    class Plain(Dispatch):
        @staticmethod
        def canonical(state: Any) -> Any:
            return state

    scope = MUTATIONS[0].scope
    plain, short = search(Plain(scope)), search(Dispatch(scope))
    assert not plain.wrong
    assert not short.wrong
    assert plain.states > short.states
    assert plain.depth >= short.depth


@pytest.mark.parametrize("scope", [ONE_SHARD._replace(faults=2), MARKERS_TWO], ids=lambda s: s.name)
def test_postgresql_always_knows_what_the_ledger_holds(scope: Any) -> None:
    """As applied or as claimed: `saec.recover.behind` gives no false alarm, and needs the claims.

    Only the ledger's end is read before the database; what stands there by then counts.
    """

    class Known(Dispatch):
        claims = True

        def canonical(self, state: Any) -> Any:  # type: ignore[override]
            reached = super().canonical(state)
            for row, ledger in zip(reached.rows, reached.ledgers, strict=True):
                known = max([row.batch_no, *(claim[0] for claim in row.claims if self.claims)])
                for entry in ledger[row.offset :]:
                    unknown = entry.epoch > row.epoch or (entry.slices and entry.number > known)
                    if entry.producer <= 0 and unknown:
                        return reached._replace(wrong="unknown to PostgreSQL")
            return reached

    found = search(Known(scope))
    assert not found.wrong, readable(found)
    Known.claims = False
    assert search(Known(scope)).wrong


def test_the_model_goes_through_every_step() -> None:
    """A step that never happens would be checked in vain."""
    seen = _labels(Dispatch(ONE_SHARD._replace(faults=2)))
    for step in (
        "claim_due: not mine any more: doubt",
        "claim_due: apply shard 0",
        "claim_due: claim shard 0",
        "read_claimed: not mine any more: doubt",
        "emit: begin, produce: shard 0",
        "emit: commit: fails: doubt",
        "emit: commit: shard 0",
        "takeover 2: look: shard 0",
        "takeover 3: fence: fence the owner that was seen (the producer of A)",
        "takeover 3: fence: fence the owner that was seen (a producer thrown away)",
        "takeover 4: compare_and_set: shard 0",
        "takeover 4: compare_and_set: somebody was faster",
        "takeover 5, 6: settled, sentinel: fails: doubt",
        "takeover 7, 8: read, settle: not mine any more: doubt",
        "takeover 7, 8: read, settle: shard 0: the ledger holds a",
        "membership.poll: assigned nothing",
        "_on_revoked: applied and released",
        "_on_revoked: not mine any more: doubt",
        "its commit is not answered: doubt",
        "crash",
        "session expires",
        "transaction time-out",
        "cancel: CANCELLED: stops a of a",
        "cancel: TOO_LATE: stops nothing of a",
        "ingest: b is stored, due already",
        "PostgreSQL: the unanswered commit is done",
        "PostgreSQL: the unanswered commit is rolled back",
        "Kafka: the unanswered commit is done",
        "Kafka: the transaction that was left open is aborted",
    ):
        assert any(step in label for label in seen), step
    slow = _labels(Dispatch(MARKERS_TWO))
    assert any("a transaction is open: later" in label for label in slow)
    back = _labels(Sources(HANGS._replace(partitions=((1,),)))) | _labels(Sources(FAILOVER_ONE))
    for step in (
        "store: partition 0: request a: not as it was left",
        "answer: partition 0: not as it was left",
        "start: the database went back: it ends",
        "claim: not as it was: doubt",
        "emit: confirm: not as it was: doubt",
        "takeover: the database went back: halted",
        "PostgreSQL: fails over, 2 commits are lost",
        "PostgreSQL: its tables are put back",
        "session expires: unnoticed",
        "recover: sets its mark",
    ):
        assert any(step in label for label in back), step


def test_the_command_tells_states_and_counterexamples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scope", ONE_SHARD.name, "--faults", "1"]) == 0
    said = capsys.readouterr().out
    assert "1 fault" in said
    assert re.search(r"[\d,]+ states, [\d,]+ transitions", said)
    assert main(["--mutation", "no-fence"]) == 0
    assert "=> a sent twice" in capsys.readouterr().out
    assert main(["--mutation", "cas-first", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["good"]
    assert told["mutations"][0]["trace"]


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m faults.checker --all" in capsys.readouterr().out


def test_an_unnoticed_mutation_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Found(1, 1, 0, 0.0)
    monkeypatch.setattr("faults.checker.search", lambda _model: nothing)
    assert main(["--mutation", "no-fence"]) == 1
    assert "NOT NOTICED" in capsys.readouterr().out


def test_the_page_names_every_mutation() -> None:
    page = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")
    for mutation in MUTATIONS:
        steps = len(search(model(mutation.scope, mutation.name)).trace)
        row = rf"^\| `{mutation.name}` \|.*\| {steps} \|"
        assert re.search(row, page, re.MULTILINE), f"{mutation.name}: {steps} steps"


def _labels(checked: Dispatch | Sources) -> set[str]:
    """Each step, and what came of it, in all states that can be reached."""
    known: set[Any] = {checked.canonical(checked.first)}  # type: ignore[arg-type]
    todo, seen = list(known), set()
    while todo:
        state = todo.pop()
        for (_, step, detail), following in chain(checked.free(state), checked.faults(state)):
            seen.add(f"{step}: {detail}")
            reached = checked.canonical(following)
            if reached not in known:
                known.add(reached)
                todo.append(reached)
    return seen
