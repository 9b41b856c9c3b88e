"""A process that freezes in a transaction holds no shard locked for long."""

from collections.abc import Callable
from typing import Any

import pytest

from saec.dispatch import claim
from saec.dispatch.claim import claim_due
from saec.errors import StoreUnavailableError
from saec.ingest import requests
from saec.store import shards
from saec.store.engine import BRIEF, open_engine, rows, transaction
from saec.store.shards import Owned
from tests.ingest.kit import Ingest, cancel
from tests.ingest.test_race import ME, ask, own_all

_BOUND = "SELECT current_setting('idle_in_transaction_session_timeout'), "
_BOUND += "current_setting('lock_timeout')"


@pytest.fixture
def bounds_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], list[Any]]:
    """Looks how long PostgreSQL would wait at a step: `bounds_of(module, "function")`."""

    def look(module: Any, step: str) -> list[Any]:
        original, found = getattr(module, step), list[Any]()

        def looking(connection: Any, *args: Any, **kwargs: Any) -> Any:
            found.append(tuple(rows(connection, _BOUND)[0]))
            return original(connection, *args, **kwargs)

        monkeypatch.setattr(module, step, looking)
        return found

    return look


def test_a_cancel_and_a_claim_let_go_after_five_seconds(
    make_ingest: Callable[..., Ingest], bounds_of: Callable[[Any, str], list[Any]]
) -> None:
    ingest = make_ingest()
    asked = ask(ingest)
    of_cancel = bounds_of(requests, "decide_cancels")
    ingest.answer(ingest.record(cancel(asked)))
    of_claim = bounds_of(claim, "_choose")
    claim_due(ingest.engine, ME, own_all(ingest), (), 100)
    assert of_cancel == of_claim == [("5s", "5s")]


def test_whoever_freezes_with_the_locks_holds_a_claim_up_for_one_try(
    make_ingest: Callable[..., Ingest],
) -> None:
    ingest = make_ingest()
    owned, engine = own_all(ingest), open_engine(ingest.settings.database_url)
    frozen = transaction(engine, bounds=BRIEF)
    shards.lock_any(frozen.__enter__(), owned)  # and does nothing more
    tries = 1
    while not claims(ingest, owned):
        tries += 1
    assert tries <= 2
    with pytest.raises(StoreUnavailableError):  # PostgreSQL ended its session
        frozen.__exit__(None, None, None)
    engine.dispose()


def claims(ingest: Ingest, owned: dict[int, Owned]) -> bool:
    """Whether a claim comes through."""
    try:
        claim_due(ingest.engine, ME, owned, (), 100)
    except StoreUnavailableError:
        return False
    return True
