"""What the migrations make is what saec/store/tables.py says."""

import re
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from saec.store import migrate, schema
from saec.store.engine import Connection, Engine, count, rows, transaction
from saec.store.tables import metadata


@pytest.fixture
def connection(migrated: Engine) -> Iterator[Connection]:
    """A transaction on a migrated database that is rolled back."""
    with transaction(migrated) as opened:
        yield opened
        count(opened, "ROLLBACK; BEGIN")


def test_processes_ask_for_the_last_migration(connection: Connection) -> None:
    assert schema.version(connection) == schema.HEAD
    schema.check(connection)


def differences(connection: Connection) -> list[object]:
    """What alembic finds, and what it does not look at."""
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    found: list[object] = list(compare_metadata(context, metadata))
    tables, stands = tables_of_code(connection), tables_of_database(connection)
    found += [("of the code only", one) for one in sorted(tables - stands)]
    found += [("of the database only", one) for one in sorted(stands - tables)]
    return found


def tables_of_database(connection: Connection) -> set[tuple[str, ...]]:
    """CHECKs by name and text, primary keys, storage parameters, sequences."""
    checks = rows(
        connection,
        "SELECT 'check', conrelid::regclass::text, conname::text, pg_get_expr(conbin, conrelid)"
        " FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace",
    )
    keys = rows(
        connection,
        "SELECT 'key', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid)"
        " FROM pg_constraint WHERE contype = 'p' AND connamespace = 'public'::regnamespace",
    )
    options = rows(
        connection,
        "SELECT 'option', relname::text, unnest(reloptions), '' FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace",
    )
    sequences = rows(
        connection,
        "SELECT 'sequence', sequencename::text, cache_size::text, increment_by::text"
        " FROM pg_sequences WHERE schemaname = 'public'",
    )
    found = {tuple(row) for row in [*checks, *keys, *options, *sequences]}
    return {row for row in found if row[1] != "alembic_version"}


def tables_of_code(connection: Connection) -> set[tuple[str, ...]]:
    """The same of what `metadata` creates in an empty schema, rolled back afterwards."""
    savepoint = connection.begin_nested()
    connection.exec_driver_sql("DROP SCHEMA public CASCADE")
    connection.exec_driver_sql("CREATE SCHEMA public")
    metadata.create_all(connection)
    found = tables_of_database(connection)
    savepoint.rollback()
    return found


def test_a_fresh_database_is_what_the_code_says(connection: Connection) -> None:
    assert differences(connection) == []
    assert tables_of_database(connection)


def test_every_check_has_the_name_that_the_code_gives_it(connection: Connection) -> None:
    inspector = sa.inspect(connection)
    for table in metadata.tables.values():
        named = {check["name"] for check in inspector.get_check_constraints(table.name)}
        checks = [c for c in table.constraints if isinstance(c, sa.CheckConstraint)]
        assert named == {f"{table.name}_{_plain(check, table)}_check" for check in checks}


def _plain(check: sa.CheckConstraint, table: sa.Table) -> str:
    return re.sub(rf"^{table.name}_(.*)_check$", r"\1", str(check.name))


OTHER_CHECK = """
    ALTER TABLE pending DROP CONSTRAINT pending_not_empty_check,
    ADD CONSTRAINT pending_not_empty_check CHECK (recipients > 0)
"""
OTHER_INDEX = """
    DROP INDEX cancels_one_decision_idx;
    CREATE UNIQUE INDEX cancels_one_decision_idx ON cancels (source_offset) WHERE decides
"""


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE requests ADD COLUMN more text",
        "ALTER TABLE requests DROP COLUMN campaign_id",
        "ALTER TABLE requests ALTER campaign_id SET NOT NULL",
        "ALTER TABLE pending ALTER slice_no TYPE bigint",
        "ALTER TABLE shards ALTER epoch SET DEFAULT 1",
        "ALTER TABLE cancels DROP CONSTRAINT cancels_status_known_check",
        "ALTER TABLE cancels RENAME CONSTRAINT cancels_status_known_check TO other",
        OTHER_CHECK,
        "ALTER TABLE claims DROP CONSTRAINT claims_pkey",
        "ALTER TABLE pending RESET (autovacuum_vacuum_cost_delay)",
        "ALTER SEQUENCE pending_seq CACHE 10",
        "DROP INDEX pending_slice_idx",
        OTHER_INDEX,
        "DROP INDEX requests_newest_idx",
        "ALTER TABLE keys DROP CONSTRAINT keys_secret_hash_key",
        "ALTER TABLE keys DROP CONSTRAINT keys_scopes_known_check",
        "DROP TABLE skips",
        "CREATE TABLE more (id integer)",
    ],
)
def test_a_changed_database_is_noticed(connection: Connection, change: str) -> None:
    connection.exec_driver_sql(change)
    assert differences(connection)


REQUEST = """
    INSERT INTO requests VALUES (gen_random_uuid(), 'billing', null, 1, 0, 1, null, 1, 1, 1,
                                 decode(repeat('00', 16), 'hex'), 0, 0, 1)
"""


@pytest.mark.parametrize("before", ["0001", "0002"])
def test_a_database_of_a_release_before_keeps_what_it_holds(fresh: Engine, before: str) -> None:
    config = migrate._config()
    with transaction(fresh) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, before)
        connection.exec_driver_sql(REQUEST)
    with transaction(fresh) as connection:
        migrate.upgrade(connection)
        # An index on the whole history may take longer than a process lets a statement take.
        assert rows(connection, "SHOW statement_timeout") == [("0",)]
    with transaction(fresh) as connection:
        assert schema.version(connection) == schema.HEAD
        assert rows(connection, "SELECT requester FROM requests") == [("billing",)]
        assert rows(connection, "SHOW statement_timeout") != [("0",)]
        assert differences(connection) == []


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(
    connection: Connection,
) -> None:
    connection.exec_driver_sql("INSERT INTO positions VALUES ('t', 0, 7)")
    migrate.upgrade(connection)
    schema.check(connection)
    assert rows(connection, "SELECT next_offset FROM positions") == [(7,)]
    assert differences(connection) == []
