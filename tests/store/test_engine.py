"""Connections and transactions on the real database."""

import pytest

from saec.errors import ConfigurationError
from saec.settings import Settings
from saec.store.engine import open_engine, rows, transaction


def test_read_committed_rows_are_asked_for_whatever_the_database_defaults_to(
    installation: Settings,
) -> None:
    """Under another isolation a cancel would not see the claim that it waited for."""
    engine = open_engine(installation.database_url)
    with transaction(engine) as connection:
        name = rows(connection, "SELECT current_database()")[0][0]
        connection.exec_driver_sql(
            f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"
        )
    engine.dispose()
    for snapshot, level in ((False, "read committed"), (True, "repeatable read")) * 2:
        with transaction(engine, snapshot=snapshot) as connection:
            assert rows(connection, "SHOW transaction_isolation")[0][0] == level
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:s3cret@h/d",
        "s3cret",
        "",
        "postgresql://u:s3cret@h:x/d",
        # What a password is cut at, of which the rest would be taken for the host or the port.
        "postgresql://u:p@s3cret@h/d",
        "postgresql://u:99999999/s3cret",
        "postgresql://u:p@h/d?s3cret=1",
        "postgresql://u:p@h/d?password=s3cret&nonsense=1",
    ],
)
def test_what_is_no_url_of_postgresql_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SAEC_DATABASE_URL") as error:
        open_engine(url)
    assert "s3cret" not in str(error.value)
