"""`saec keys`: a key is shown once, works as it was made, and no command shows its secret again."""

import json
import re
from typing import Any

import pytest
from sqlalchemy import Engine

from saec.cli.instants import wall_ms
from saec.contracts.instants import instant_ms
from saec.keys import Scope, matches, parse
from saec.settings import Settings
from saec.store.engine import rows, transaction
from saec.store.keys import KeyRow, read_keys, read_usable
from saec.store.shards import now_ms
from tests.cli.conftest import Run, environment

DAY_MS = 86_400_000
ADD = ("keys", "add", "billing, nightly job", "--requester", "billing")


def stored(engine: Engine) -> list[KeyRow]:
    with transaction(engine) as connection:
        return read_keys(connection)


def told(run: Run, *args: str) -> Any:
    """What a command prints as JSON."""
    result = run(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_key_alone_goes_to_stdout(here: Run, engine: Engine) -> None:
    result = here(*ADD)
    assert result.exit_code == 0, result.output
    assert re.fullmatch(r"saec_[0-9a-f]{12}_[0-9a-f]{64}\n", result.stdout)
    key_id, secret = parse(result.stdout.strip()) or ("", "")
    (row,) = stored(engine)
    assert (row.key_id, row.name, row.requester) == (key_id, "billing, nightly job", "billing")
    assert row.scopes == (Scope.SCHEDULE, Scope.READ)
    assert (row.rate, row.expires_at_ms, row.revoked_at_ms) == (None, None, None)
    assert matches(secret, row.secret_hash)
    assert secret not in result.stderr
    assert "Authorization: Bearer" in result.stderr
    assert "this once" in result.stderr


def test_the_secret_is_nowhere_in_the_database(here: Run, engine: Engine) -> None:
    text = here(*ADD).stdout.strip()
    _, secret = parse(text) or ("", "")
    with transaction(engine) as connection:
        (row,) = rows(connection, "SELECT keys::text FROM keys")
    assert secret not in row[0]
    assert secret.encode().hex() not in row[0]


def test_everything_that_can_be_said_of_a_key(here: Run, engine: Engine) -> None:
    options = ("--scope", "operate", "--scope", "read", "--scope", "read", "--rate", "50")
    key = told(here, *ADD, *options, "--expires", "90d")
    (row,) = stored(engine)
    assert parse(key["key"]) is not None
    assert key | {"key": None} == {
        "key": None,
        "key_id": row.key_id,
        "name": "billing, nightly job",
        "requester": "billing",
        "scopes": ["read", "operate"],
        "rate": 50,
        "created_at": key["created_at"],
        "expires_at": key["expires_at"],
        "revoked_at": None,
        "state": "ACTIVE",
    }
    assert row.scopes == (Scope.READ, Scope.OPERATE)
    assert row.expires_at_ms == row.created_at_ms + 90 * DAY_MS
    assert instant_ms(key["expires_at"]) == row.expires_at_ms
    assert instant_ms(key["created_at"]) == row.created_at_ms


def test_an_expiry_may_be_an_instant(here: Run, engine: Engine) -> None:
    assert here(*ADD, "--expires", "2126-12-01T09:00:00-03:00").exit_code == 0
    assert stored(engine)[0].expires_at_ms == instant_ms("2126-12-01T12:00:00Z")


@pytest.mark.parametrize(
    "options",
    [
        ("--expires", ""),
        ("--expires", "90"),
        ("--expires", "0d"),
        ("--expires", "soon"),
        ("--expires", "2020-01-01T00:00:00Z"),
        ("--expires", "2126-12-01T09:00:00"),
        ("--expires", "999999999d"),
        ("--rate", "0"),
        ("--rate", "1000001"),
        ("--scope", "write"),
        ("--requester", ""),
        ("--requester", " billing"),
        ("--requester", "bill\ning"),
        ("--requester", "b" * 129),
        ("--requester", "bill\udcffing"),
    ],
)
def test_what_is_no_key_is_refused(here: Run, engine: Engine, options: tuple[str, ...]) -> None:
    result = here(*ADD, *options)
    assert result.exit_code == 2, result.output
    assert options[0] in result.stderr
    assert "saec_" not in result.output
    assert stored(engine) == []


@pytest.mark.parametrize("name", ["", " ", "a\tb", "\x1b[2J"])
def test_a_name_is_one_line(here: Run, engine: Engine, name: str) -> None:
    result = here("keys", "add", name, "--requester", "billing")
    assert result.exit_code == 2
    assert "NAME" in result.stderr
    assert stored(engine) == []


def test_a_key_without_a_requester_is_refused(here: Run, engine: Engine) -> None:
    assert here("keys", "add", "billing").exit_code == 2
    assert stored(engine) == []


def test_the_list_shows_states_and_no_secret(here: Run, engine: Engine) -> None:
    texts = [here(*ADD).stdout.strip() for _ in range(3)]
    active, expired, revoked = (parse(text) or ("", "") for text in texts)
    with transaction(engine) as connection:
        sql = "UPDATE keys SET expires_at_ms = %(at)s WHERE key_id = %(id)s RETURNING key_id"
        assert len(rows(connection, sql, at=now_ms(connection), id=expired[0])) == 1
    assert here("keys", "revoke", revoked[0]).exit_code == 0
    shown, listed = here("keys", "list").stdout, told(here, "keys", "list")
    states = {active[0]: "ACTIVE", expired[0]: "EXPIRED", revoked[0]: "REVOKED"}
    assert {key["key_id"]: key["state"] for key in listed} == states
    for key_id, state in states.items():
        (line,) = (line for line in shown.splitlines() if key_id in line)
        assert line.split()[-1] == state
        assert {"billing,", "nightly", "job", "schedule,", "read"} <= set(line.split())
    assert [key["key_id"] for key in listed if key["revoked_at"]] == [revoked[0]]
    hashes = [row.secret_hash.hex() for row in stored(engine)]
    for hidden in (*hashes, *(secret for _, secret in (active, expired, revoked))):
        assert hidden not in shown + json.dumps(listed)
    with transaction(engine) as connection:
        usable = read_usable(connection, now_ms(connection))
    assert [row.key_id for row in usable] == [active[0]]


def test_without_keys_the_list_says_how_to_make_one(here: Run) -> None:
    assert "saec keys add" in here("keys", "list").stdout
    assert told(here, "keys", "list") == []


def test_revoking_says_from_when_and_keeps_to_the_first_time(here: Run, engine: Engine) -> None:
    key_id = told(here, *ADD)["key_id"]
    before_ms = wall_ms() - 60_000
    first = told(here, "keys", "revoke", key_id)
    assert first["state"] == "REVOKED"
    assert before_ms < instant_ms(first["revoked_at"]) < wall_ms() + 60_000
    assert told(here, "keys", "revoke", key_id) == first
    said = here("keys", "revoke", key_id)
    assert said.exit_code == 0
    assert first["revoked_at"] in said.stdout
    assert "within 5 s" in said.stdout
    assert "secret" not in json.dumps(first)


def test_an_unknown_key_is_not_revoked(here: Run, engine: Engine) -> None:
    here(*ADD)
    result = here("keys", "revoke", "0123456789ab")
    assert result.exit_code == 1
    assert "there is no key 0123456789ab" in result.stderr
    assert "saec keys list" in result.stderr
    assert stored(engine)[0].revoked_at_ms is None


def test_a_whole_key_in_place_of_its_id_is_not_quoted(here: Run, engine: Engine) -> None:
    text = here(*ADD).stdout.strip()
    result = here("keys", "revoke", text)
    assert result.exit_code == 2
    assert "stand behind saec_" in result.stderr
    assert text not in result.output
    assert text[-64:] not in result.output
    assert stored(engine)[0].revoked_at_ms is None


def test_a_database_of_another_prefix_gets_no_key(
    saec: Run, installation: Settings, engine: Engine
) -> None:
    other = environment(installation) | {"SAEC_TOPIC_PREFIX": "other."}
    result = saec(*ADD, **other)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert stored(engine) == []
