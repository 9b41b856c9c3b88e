"""The endpoint for HTTP with its own rights alone, behind TLS on every side."""

import http.client
import json
import ssl
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import psycopg2
import pytest

from saec.cli.instants import wall_ms
from saec.errors import SaecError
from saec.settings import Settings
from saec.store import grants, history, keys, listing
from saec.store import installation as stored
from saec.store.cancels import read_answers
from saec.store.engine import open_engine, transaction
from saec.store.identity import read_ids
from saec.store.shards import now_ms
from tests.http.endpoint import Served, serve
from tests.trust.conftest import run_sql, url_of
from tests.trust.secured import Secured, environment
from tests.trust.test_acls import process, run, wait_until
from tests.trust.tls_front import tls_front

HOUR_MS = 3_600_000
AsRole = Callable[..., Settings]


@dataclass(frozen=True)
class Endpoint:
    """The endpoint at work, and a key for each thing that one may do."""

    served: Served
    schedule: str
    read: str
    operate: str
    stranger: str


@pytest.fixture(scope="module")
def reach(secured: Secured) -> Iterator[AsRole]:
    """The settings of a role that speaks TLS to Kafka and to PostgreSQL."""
    plain = urlsplit(secured.plain.database_url)
    socket = Path(parse_qs(plain.query)["host"][0]) / ".s.PGSQL.5432"
    verified = urlencode({"sslmode": "verify-full", "sslrootcert": str(secured.certificates.ca)})

    with tls_front(socket, secured.certificates.server("postgres")) as port:

        def settings(role: str, database_role: str | None = None) -> Settings:
            user = grants.role_name(secured.plain, database_role or role)
            place = plain._replace(netloc=f"{user}@localhost:{port}", query=verified)
            return secured.settings(role, urlunsplit(place))

        yield settings


@pytest.fixture(scope="module")
def endpoint(
    secured: Secured,
    reach: AsRole,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Endpoint]:
    """The endpoint beside the processes that answer it; the keys are the role `keys`' work."""
    logs = tmp_path_factory.mktemp("http")
    keeper = reach("auditor", "keys")
    with ExitStack() as running:
        for module in ("consumers.requests", "consumers.customers", "producers.dispatch"):
            role = module.rpartition(".")[2]
            running.enter_context(process(module, reach(role), logs / f"{role}.log"))
        made = [
            add_key(keeper, "tests", "schedule"),
            add_key(keeper, "tests", "read"),
            add_key(keeper, "operators", "operate"),
            add_key(keeper, "strangers", "schedule", "read"),
        ]
        served = serve_tls(secured, reach("http"), logs / "endpoint.log")
        yield Endpoint(running.enter_context(served), *made)


def serve_tls(secured: Secured, settings: Settings, log: Path) -> AbstractContextManager[Served]:
    """The endpoint as whoever `settings` name, with a certificate of its own."""
    certificate = str(secured.certificates.server("http"))
    trusting = ssl.create_default_context(cafile=secured.certificates.ca)
    variables = environment(settings) | {"SAEC_HTTP_TLS_CERT": certificate}
    return serve(settings, log, context=trusting, **variables)


def add_key(keeper: Settings, requester: str, *scopes: str) -> str:
    """What `saec keys add` prints."""
    chosen = [word for scope in scopes for word in ("--scope", scope)]
    made = run("keys", "add", "trust", "--requester", requester, *chosen, settings=keeper)
    assert made.exit_code == 0, made.output
    return str(made.stdout.strip())


def asked(due_at: int, **more: Any) -> dict[str, Any]:
    """A request to somebody who is not registered."""
    message = {"body": "x", "content_type": "text/plain"}
    return {
        "channels": ["EMAIL"],
        "customers": ["nobody"],
        "due_at": due_at,
        "message": message,
        **more,
    }


def test_it_schedules_shows_and_cancels(endpoint: Endpoint) -> None:
    served, far = endpoint.served, asked(wall_ms() + HOUR_MS)
    scheduled = served.post("/v1/requests", far, endpoint.schedule, prefer="wait=60")
    assert (scheduled.status, scheduled.json["answer"]["status"]) == (201, "ACCEPTED")
    id_ = scheduled.json["request_id"]
    for key in (endpoint.read, endpoint.operate):
        assert served.get(f"/v1/requests/{id_}", key).json["state"] == "SCHEDULED"
        listed = served.get("/v1/requests?requester=tests", key)
        assert id_ in [one["request_id"] for one in listed.json["requests"]]
        pending = served.get("/v1/pending", key)
        assert [hour["messages"] for hour in pending.json["pending"]] == [1]
    for path in (f"/v1/requests/{id_}", f"/v1/requests/{uuid.uuid4()}"):
        assert served.get(path, endpoint.stranger).code == "unknown_request"
    path = f"/v1/requests/{id_}/cancel"
    refused = served.post(path, key=endpoint.stranger, prefer="wait=60")
    assert (refused.status, refused.code) == (403, "other_requester")
    cancelled = served.post(path, key=endpoint.schedule, prefer="wait=60")
    assert (cancelled.status, cancelled.json["answer"]["status"]) == (200, "CANCELLED")
    seen = served.get(f"/v1/requests/{id_}", endpoint.read).json
    assert (seen["state"], len(seen["cancels"])) == ("CANCELLED", 2)


def test_it_takes_many_at_once_and_shows_what_was_not_sent(endpoint: Endpoint) -> None:
    served, ids = endpoint.served, [str(uuid.uuid4()) for _ in range(3)]
    lines = [asked(wall_ms(), id=id_) for id_ in ids[:2]] + [asked(wall_ms() + HOUR_MS, id=ids[2])]
    cancel = {"type": "saec.v1.CancelRequested", "id": ids[2]}
    body = "\n".join(map(json.dumps, [*lines, cancel])).encode()
    jsonl = {"content_type": "application/jsonl", "prefer": "wait=60"}
    told = served.post("/v1/requests", body, endpoint.schedule, **jsonl)
    assert told.status == 200
    assert told.json["answers"] == {"ACCEPTED": 3, "CANCELLED": 1}

    def states() -> list[str]:
        shown = [served.get(f"/v1/requests/{id_}", endpoint.read).json for id_ in ids]
        return [one["state"] for one in shown]

    wait_until(lambda: states() == ["NOT_SENT", "NOT_SENT", "CANCELLED"])
    skipped = served.get(f"/v1/requests/{ids[0]}", endpoint.operate).json["skips"]
    assert [skip["messages"] for skip in skipped] == [1]


def test_nothing_was_refused_to_it(endpoint: Endpoint) -> None:
    """By Kafka or PostgreSQL: what is refused once and tried again would not be seen above."""
    told = [json.loads(line) for line in endpoint.served.log.splitlines()]
    assert "listening" in [line["event"] for line in told]
    assert [line for line in told if line["level"] != "info"] == []


def test_it_speaks_nothing_but_tls(endpoint: Endpoint, reach: AsRole) -> None:
    served = endpoint.served
    with pytest.raises((OSError, http.client.HTTPException)):
        replace(served, context=None).get("/v1/health")
    with pytest.raises(ssl.SSLCertVerificationError):
        replace(served, context=ssl.create_default_context()).get("/v1/health")
    plain = reach("http").database_url.replace("sslmode=verify-full", "sslmode=disable")
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(plain)


def test_without_the_right_to_publish_it_says_so_and_goes_on(
    secured: Secured, endpoint: Endpoint, reach: AsRole, tmp_path: Path
) -> None:
    """To the client that is the end of its producer; the auditor may do all the rest."""
    with serve_tls(secured, reach("auditor", "http"), tmp_path / "endpoint.log") as served:
        for _ in range(3):
            body = asked(wall_ms() + HOUR_MS)
            told = served.post("/v1/requests", body, endpoint.schedule, prefer="wait=60")
            assert (told.status, told.code) == (503, "kafka_unavailable")
        assert served.get("/v1/requests", endpoint.read).status == 200


# Each right in the database


def reads(settings: Settings) -> None:
    """Everything that the endpoint reads."""
    nobody = uuid.uuid4()
    engine = open_engine(settings.database_url)
    try:
        with transaction(engine, snapshot=True) as connection:
            stored.read(connection, settings.topic_prefix)
            read_ids(connection)
            keys.read_usable(connection, now_ms(connection))
            history.read_account(connection, nobody)
            read_answers(connection, [nobody])
            history.read_pending(connection, "tests")
            listing.read_page(connection, "tests", listing.Filters(), 1)
    finally:
        engine.dispose()


def rights() -> Iterator[tuple[str, str, str]]:
    """Each as a table, what may be done, and to which column (with brackets) or none."""
    for table, granted in grants.TABLES["http"].items():
        privilege, _, columns = granted.partition(" (")
        for column in columns.rstrip(")").split(", "):
            yield table, privilege, column and f"({column})"


def test_it_could_do_without_none_of_its_rights(secured: Secured, as_role: AsRole) -> None:
    settings, role = as_role("http"), grants.role_name(secured.plain, "http")
    reads(settings)
    owner, idle = url_of(secured.plain, "init"), []
    for table, privilege, column in rights():
        run_sql(owner, [f"REVOKE {privilege} {column} ON {table} FROM {role}"])
        try:
            reads(settings)
            idle.append((table, column))
        except SaecError as error:
            assert "42501" in str(error)  # noqa: PT017 - some do not raise
        finally:
            run_sql(owner, [f"GRANT {privilege} {column} ON {table} TO {role}"])
    assert idle == []
    reads(settings)
