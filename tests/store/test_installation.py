"""Whose database it is, and of which version."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from saec import installation as commands
from saec.errors import ConfigurationError
from saec.settings import Settings
from saec.store import installation as store
from saec.store import migrate
from saec.store.engine import Engine, count, rows, transaction
from saec.store.installation import Installation

OURS = Installation("saec.", 4)
TIMEOUT_S = 60


@pytest.fixture
def created(fresh: Engine) -> Engine:
    """A database that was initialised."""
    with transaction(fresh) as connection:
        assert store.create(connection, OURS) == OURS
    return fresh


def refusal(engine: Engine, prefix: str = OURS.topic_prefix) -> str:
    """How a process that starts with `prefix` is refused."""
    with pytest.raises(ConfigurationError) as refused, transaction(engine) as connection:
        store.read(connection, prefix)
    return str(refused.value)


def execute(engine: Engine, statement: str) -> None:
    with transaction(engine) as connection:
        count(connection, statement)


def dump(engine: Engine) -> tuple[list[Any], ...]:
    """Everything that init writes."""
    with transaction(engine) as connection:
        return (
            rows(connection, "SELECT topic_prefix, shards FROM installation"),
            rows(connection, "SELECT shard, owner, epoch FROM shards ORDER BY shard"),
            rows(connection, "SELECT version_num FROM alembic_version"),
        )


def test_what_was_created_is_read(created: Engine) -> None:
    with transaction(created) as connection:
        assert store.read(connection, "saec.") == OURS
    assert dump(created)[1] == [(shard, None, 0) for shard in range(4)]


def test_another_prefix_is_refused(created: Engine) -> None:
    said = refusal(created, "other.")
    assert "'saec.'" in said
    assert "'other.'" in said
    assert "SAEC_TOPIC_PREFIX" in said


def test_init_with_another_prefix_is_refused_and_changes_nothing(created: Engine) -> None:
    before = dump(created)
    with pytest.raises(ConfigurationError, match=r"'saec\.'"), transaction(created) as connection:
        store.create(connection, Installation("other.", 8))
    assert dump(created) == before


def test_an_empty_database_is_refused_and_told_to_initialise(fresh: Engine) -> None:
    assert "run `saec init`" in refusal(fresh)


def test_tables_without_an_installation_are_refused(fresh: Engine) -> None:
    with transaction(fresh) as connection:
        migrate.upgrade(connection)
    assert "never initialised: run `saec init`" in refusal(fresh)


def test_an_older_schema_is_refused_and_told_to_upgrade(created: Engine) -> None:
    execute(created, "UPDATE alembic_version SET version_num = '0000'")
    said = refusal(created)
    assert "at schema 0000" in said
    assert "run `saec init`" in said


def test_a_newer_schema_is_refused(created: Engine) -> None:
    execute(created, "UPDATE alembic_version SET version_num = '9999'")
    said = refusal(created)
    assert "at schema 9999" in said
    assert "upgrade the processes that are older" in said


def test_init_of_an_older_release_refuses_a_newer_schema(created: Engine) -> None:
    execute(created, "UPDATE alembic_version SET version_num = '9999'")
    before = dump(created)
    with pytest.raises(ConfigurationError, match="9999"), transaction(created) as connection:
        store.create(connection, OURS)
    assert dump(created) == before


def test_init_twice_changes_nothing(created: Engine) -> None:
    execute(created, "UPDATE shards SET owner = 'me', epoch = 3, batch_no = 7 WHERE shard = 2")
    before = dump(created)
    with transaction(created) as connection:
        # The number of shards is fixed for ever by the first.
        assert store.create(connection, Installation("saec.", 99)) == OURS
    assert dump(created) == before


def test_init_many_times_at_once_does_the_work_once(fresh: Engine) -> None:
    start = threading.Barrier(3)

    def init() -> Installation:
        start.wait(TIMEOUT_S)
        with transaction(fresh) as connection:
            return store.create(connection, OURS)

    with ThreadPoolExecutor(3) as pool:
        made = [pool.submit(init) for _ in range(3)]
        assert [one.result(TIMEOUT_S) for one in made] == [OURS] * 3
    assert dump(fresh)[:2] == ([("saec.", 4)], [(shard, None, 0) for shard in range(4)])


def test_the_command_run_twice_finds_what_it_made(installation: Settings) -> None:
    again = commands.init(installation)
    assert (again.shards, again.topics_created) == (installation.shards, [])
    assert commands.check(installation).shards == installation.shards
    # What is fixed cannot be changed by a setting.
    assert commands.init(installation.model_copy(update={"shards": 99})).shards == again.shards


def test_a_process_with_another_prefix_does_not_start(installation: Settings) -> None:
    with pytest.raises(ConfigurationError, match="belongs to the topic prefix"):
        commands.check(installation.model_copy(update={"topic_prefix": "other."}))
