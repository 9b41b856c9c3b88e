"""With the authorizer on and least privilege in the database, all work; and no secret is shown."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from typer.testing import CliRunner

from saec.audit import audit
from saec.cli.app import app
from saec.cli.instants import wall_ms
from saec.contracts.dispatch import DispatchMessage, decode_dispatch
from saec.contracts.status import Status, decode_status
from saec.doctor.examine import examine
from saec.doctor.findings import Level
from saec.embedded.kafka import console_tool
from saec.history import story
from saec.kafka import publish
from saec.kafka.acls import rules
from saec.kafka.follow import Beginning, read_whole
from saec.kafka.records import Outgoing
from saec.settings import Settings
from saec.store import installation
from saec.store.engine import open_engine, transaction
from saec.store.keys import read_usable
from saec.store.shards import now_ms
from tests.trust.secured import Secured, environment

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
AsRole = Callable[..., Settings]


@contextmanager
def process(module: str, settings: Settings, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """One of SAEC's processes, by a name that is its own."""
    variables = environment(settings) | {"SAEC_INSTANCE": module}
    with log.open("ab") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", module], cwd=ROOT, env=os.environ | variables, stderr=output
        )
    try:
        yield started
    finally:
        started.terminate()
        started.wait(60)


def send(settings: Settings, topic: str, value: dict[str, Any], key: str) -> None:
    record = Outgoing(topic, json.dumps(value).encode(), key.encode(), [])
    delivery = publish.publish(settings, [record])
    assert (delivery.delivered, delivery.failures) == (1, [])


def request(settings: Settings, channel: str = "EMAIL") -> str:
    """Ask for a message that is due now; returns the request's id."""
    id_ = str(uuid.uuid4())
    value = {
        "type": "saec.v1.ScheduleRequested",
        "id": id_,
        "requester": "tests",
        "channels": [channel],
        "customers": ["42"],
        "due_at": wall_ms(),
        "message": {"body": "x", "content_type": "text/plain"},
    }
    send(settings, settings.topics.requests, value, id_)
    return id_


def consumer(settings: Settings, group: str) -> Any:
    """A client that SAEC did not write, as a sender has one."""
    return Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            **settings.kafka,
            "group.id": settings.group_id(group),
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )


def receive(sender: Any) -> DispatchMessage:
    """The next message that a sender gets."""
    until_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < until_s:
        record = sender.poll(1.0)
        if record is not None and record.error() is None:
            return decode_dispatch(record.value())
    raise AssertionError("nothing came")


def test_all_work_as_themselves_from_request_to_sender(as_role: AsRole, tmp_path: Path) -> None:
    registry, requester = as_role("registry"), as_role("requester")
    email = as_role("sender-email")
    value = {"type": "saec.v1.CustomerRegistered", "id": "42", "email": "a@example.com"}
    send(registry, registry.topics.customers, value, "42")
    with ExitStack() as running:
        for role in ("requests", "customers"):
            log = tmp_path / f"{role}.log"
            running.enter_context(process(f"consumers.{role}", as_role(role), log))
        auditor = as_role("auditor", "reader")
        wait_until(lambda: all_taken(auditor))
        sender = running.enter_context(closing(consumer(email, "sender-email")))
        sender.subscribe([email.topics.dispatch["EMAIL"]])
        with process("producers.dispatch", as_role("dispatch"), tmp_path / "1.log") as first:
            asked = request(requester)
            assert str(receive(sender).request_id) == asked
            first.send_signal(signal.SIGKILL)
            first.wait()
        # Its successor has to fence it, by a transactional id that is not its own.
        dispatch = as_role("dispatch")
        running.enter_context(process("producers.dispatch", dispatch, tmp_path / "2.log"))
        asked = request(requester)
        assert str(receive(sender).request_id) == asked
        said = examine(auditor, wall_ms)
        worse = [f for f in said.findings if f.level is Level.ERROR]
        assert worse == []
        assert {f.check for f in said.findings if f.level is Level.WARNING} == {"replication"}
        told = story(as_role("historian", "reader"), uuid.UUID(asked))
        assert [event.name for event in told.events] == ["asked", "answered", "dispatched"]
        with audit(as_role("historian"), directory=tmp_path / "audit") as done:
            assert done.report.reconciles
            assert done.report.total.dispatched == 2
    answers = read_whole(requester, [requester.topics.status], Beginning())
    ours = [answer for answer in answers if answer.key == asked.encode()]
    assert [decode_status(one.value or b"").status for one in ours] == [Status.ACCEPTED]


def test_keys_are_handed_out_by_their_own_role_and_read_by_the_endpoints(
    secured: Secured, as_role: AsRole
) -> None:
    """Kafka is not needed for that."""
    keeper = as_role("auditor", "keys")
    made = run("keys", "add", "job", "--requester", "tests", "--json", settings=keeper)
    assert made.exit_code == 0, made.output
    key_id = json.loads(made.stdout)["key_id"]
    assert usable(as_role("http")) == [key_id]
    assert run("keys", "revoke", key_id, settings=keeper).exit_code == 0
    assert usable(as_role("http")) == []
    listed = run("keys", "list", "--json", settings=as_role("http"))
    assert [key["state"] for key in json.loads(listed.stdout)] == ["REVOKED"]
    denied = run("keys", "add", "job", "--requester", "tests", settings=as_role("http"))
    assert denied.exit_code == 3
    assert "42501" in denied.stderr
    assert "saec_" not in denied.output


def usable(settings: Settings) -> list[str]:
    """The ids of the keys that an endpoint with these settings lets in."""
    engine = open_engine(settings.database_url)
    try:
        with transaction(engine, snapshot=True) as connection:
            installation.read(connection, settings.topic_prefix)
            return [row.key_id for row in read_usable(connection, now_ms(connection))]
    finally:
        engine.dispose()


def wait_until(condition: Callable[[], bool]) -> None:
    until_s, tries = time.monotonic() + DEADLINE_S, threading.Event()
    while not condition():
        assert time.monotonic() < until_s, "the condition did not come true"
        tries.wait(0.1)


def all_taken(auditor: Settings) -> bool:
    """Whether the registry's records are in the database."""
    said = examine(auditor, wall_ms, wait_s=0)
    (lag,) = [f for f in said.findings if f.check == "customers_lag"]
    return lag.level is Level.OK and lag.found.startswith("0 records")


# TLS, and secrets


def test_a_client_certificate_does_as_well_as_a_password(secured: Secured) -> None:
    tls = {"bootstrap_servers": f"127.0.0.1:{secured.tls_port}"}
    requester = secured.plain.model_copy(
        update={**tls, "kafka": secured.by_certificate("requester")}
    )
    request(requester, channel="PUSH")
    with pytest.raises(Exception, match="there is no topic"):
        send(requester, requester.topics.customers, {}, "42")


def test_a_broker_of_another_authority_is_not_trusted(
    secured: Secured, as_role: AsRole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saec.kafka.survey._TIMEOUT_S", 2.0)
    other = tmp_path / "other.pem"
    type(secured.certificates.authority)().cert_pem.write_to_path(other)
    settings = as_role("init")
    settings = settings.model_copy(
        update={"kafka": settings.kafka | {"ssl.ca.location": str(other)}}
    )
    said = run("doctor", "--wait", "0", settings=settings)
    assert said.exit_code == 3
    assert "certificate verify failed" in said.output


def run(*args: str, settings: Settings) -> Any:
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, list(args), env=environment(settings))


def test_the_doctor_says_what_it_may_not_see_in_kafka(as_role: AsRole) -> None:
    """As the endpoint, which may not read the configuration of topics."""
    said = examine(as_role("http", "reader"), wall_ms, wait_s=0)
    (finding,) = [f for f in said.findings if f.check == "kafka"]
    assert (finding.level, "AUTHORIZATION_FAILED" in finding.found) == (Level.ERROR, True)
    assert "docs/security.md" in (finding.advice or "")


def test_the_doctor_says_what_it_may_not_see_in_the_database(as_role: AsRole) -> None:
    """As a process that has no business with shards; what needs none of them is looked at."""
    said = examine(as_role("auditor", "customers"), wall_ms, wait_s=0)
    hidden = [f for f in said.findings if f.found.startswith("could not be looked at")]
    assert {"halted_shards", "positions"} <= {f.check for f in hidden}
    assert {(f.level, "docs/security.md" in (f.advice or "")) for f in hidden} == {
        (Level.ERROR, True)
    }
    fine = {f.check for f in said.findings if f.level is Level.OK}
    assert {"kafka", "schema", "retention"} <= fine


def test_a_wrong_password_is_named_as_such_and_shown_nowhere(
    secured: Secured, as_role: AsRole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saec.kafka.survey._TIMEOUT_S", 2.0)
    monkeypatch.setattr("saec.kafka.publish._METADATA_TIMEOUT_S", 2.0)
    secret = "hunter2-kept-out-of-sight"
    url = secured.plain.database_url.replace("postgres:@", f"nobody:{secret}@")
    wrong = as_role("requests").model_copy(
        update={"kafka": secured.kafka("requests", secret), "database_url": url}
    )
    log = tmp_path / "log"
    commands = (
        ["doctor", "--json"],
        ["doctor"],
        ["settings"],
        ["settings", "--json"],
        ["settings", "--markdown"],
        ["acls"],
        ["acls", "--postgres"],
        ["init"],
        ["pending"],
        ["status", str(uuid.uuid4())],
        ["tail", "status"],
        ["cancel", str(uuid.uuid4()), "--requester", "x"],
        ["customers", "erase", "42"],
        ["keys", "add", "job", "--requester", "tests"],
        ["keys", "list"],
        ["keys", "revoke", "0123456789ab"],
        ["recover"],
    )
    with process("consumers.requests", wrong, log):
        outputs = [run(*command, settings=wrong).output for command in commands]
        wait_until(lambda: log.stat().st_size > 0)
    assert "uthentication failed" in outputs[0]
    assert [text for text in (*outputs, log.read_text()) if secret in text] == []
    assert [text for text in outputs if "Traceback" in text] == []
    assert secret not in repr(wrong)


# What is printed


@pytest.mark.parametrize("options", [[], ["--postgres"]])
def test_the_docs_have_the_table(options: list[str]) -> None:
    table = CliRunner().invoke(app, ["acls", "--markdown", *options]).stdout
    page = ROOT / "docs" / "security.md"
    assert table in page.read_text("utf-8"), "put the output of `saec acls --markdown` there"


def test_the_commands_and_the_json_say_the_same(secured: Secured) -> None:
    lines = run("acls", settings=secured.plain).stdout.splitlines()
    told = json.loads(run("acls", "--json", settings=secured.plain).stdout)
    assert [as_rule(shlex.split(line)) for line in lines] == [
        {name: value for name, value in rule.items() if name != "role"} for rule in told
    ]


def as_rule(words: list[str]) -> dict[str, Any]:
    """What Kafka's tool would make of a line."""
    assert words[:2] == ["kafka-acls.sh", "--add"]
    given: dict[str, list[str]] = {}
    for option, value in zip(words[2::2], words[3::2], strict=True):
        given.setdefault(option.removeprefix("--"), []).append(value)
    pattern = given.pop("resource-pattern-type", ["literal"])
    principal, operations = given.pop("allow-principal"), given.pop("operation")
    ((resource, (name,)),) = given.items()
    return {
        "principal": principal[0],
        "resource": resource,
        "name": name,
        "operations": operations,
        "prefixed": pattern == ["prefixed"],
    }


@pytest.mark.parametrize("resource", ["topic", "transactional-id"])
def test_kafkas_own_tool_takes_the_commands(secured: Secured, resource: str) -> None:
    needed = [rule for rule in rules(secured.plain) if rule.resource == resource]
    line = next(rule.command for rule in needed if rule.prefixed)
    where = ["--bootstrap-server", secured.plain.bootstrap_servers]
    tool = console_tool("org.apache.kafka.tools.AclCommand", [*shlex.split(line)[1:], *where])
    said = subprocess.run(tool, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert "patternType=PREFIXED" in said.stdout
