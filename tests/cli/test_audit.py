"""`saec audit`, end to end on small installations: one that reconciles, and one that does not."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from saec.contracts.dispatch import encode_message, message_id, recipient_head, slice_tail
from saec.contracts.events import Channel, Message
from saec.kafka.publish import publish
from saec.kafka.records import Outgoing
from saec.settings import Settings
from tests.cli.conftest import Run, environment, whole_topic
from tests.privacy import PERSONAL
from tests.recover.scene import Scene
from tests.stack import Installations

FOREIGN = b"segredo-da-ana"
HOUR_MS = 3_600_000
CAMPAIGN = "<script>november</script>"
_HEAVY = ("duckdb", "pyarrow", "numpy", "matplotlib", "jinja2")


@pytest.fixture(scope="module")
def settled(installations: Installations) -> Iterator[Settings]:
    """Three messages dispatched, one skipped, one stopped, one to come."""
    with installations.make(shards=2) as settings:
        used(settings)
        yield settings


@pytest.fixture(scope="module")
def spoiled(installations: Installations) -> Iterator[Settings]:
    """The same, and three more in the topic of EMAIL: a message again, an unasked one, none at all.

    The one that nobody asked for is due when no calendar can say.
    """
    with installations.make(shards=2) as settings:
        used(settings)
        topic = settings.topics.dispatch[Channel.EMAIL]
        key, value = whole_topic(settings, topic)[0]
        planted = [Outgoing(topic, one, key, []) for one in (FOREIGN, value, unrequested())]
        assert publish(settings, planted).failures == []
        yield settings


def unrequested() -> bytes:
    request_id, due_ms = uuid4(), 2**60
    content = Message(subject=None, body="Olá".encode(), content_type="text/plain")
    head = recipient_head(
        message_id(request_id.bytes, Channel.EMAIL, "ana"), "ana", Channel.EMAIL, "ana@example.com"
    )
    tail = slice_tail(due_ms, request_id, None, "billing", due_ms, None, encode_message(content))
    return head + tail


def used(settings: Settings) -> None:
    scene = Scene(settings, None)
    scene.register("ana", "bia")
    scene.ask(customers=["ana", "bia", "nobody"], campaign_id=CAMPAIGN)
    scene.ask(channels=["PUSH"], customers=[])
    stopped = scene.ask(due_in_ms=HOUR_MS)
    scene.take_requests()
    scene.cancel(stopped)
    scene.ask(due_in_ms=HOUR_MS, requester="billing")
    scene.take_requests()
    scene.dispatch(until=lambda: scene.installed.pending() == 1)
    scene.engine.dispose()


@pytest.fixture
def audit(saec: Run, tmp_path: Path) -> Run:
    """Runs `saec audit ARGS` against an installation; nothing that it writes is personal."""

    def run(settings: Settings, *args: str | Path) -> object:
        result = saec("audit", "--work", tmp_path / "work", *args, **environment(settings))
        assert not PERSONAL.search(result.output)
        assert FOREIGN.decode() not in result.output
        for path in tmp_path.iterdir():
            if path.is_file():
                assert not PERSONAL.search(path.read_text("utf-8"))
        return result

    return run


def test_it_reconciles(audit: Run, settled: Settings, tmp_path: Path) -> None:
    result = audit(settled)
    assert result.exit_code == 0, result.output
    assert "It reconciles: everything that was expected was dispatched, once." in result.stdout
    assert "<script>november</script>" in result.stdout
    assert "unknown_customer" in result.stdout
    assert result.stderr == ""
    assert list((tmp_path / "work").iterdir()) == []


def test_as_json(audit: Run, settled: Settings) -> None:
    told = json.loads(audit(settled, "--json").stdout)
    assert (told["reconciles"], told["found"], told["findings"]) == (True, {}, [])
    assert told["scope"] == dict.fromkeys(("since", "until", "campaign_id", "requester"))
    total = {
        "asked": 6, "expected": 3, "dispatched": 3, "from_ledger": 0, "skipped": 1, "stopped": 1,
        "awaited": 1, "unjudged": 0, "found": {},
    }  # fmt: skip
    assert told["total"] == total
    assert [(one["channel"], one["asked"]) for one in told["by_channel"]] == [
        ("EMAIL", 5),
        ("PUSH", 1),
    ]
    assert {one["campaign_id"]: one["asked"] for one in told["by_campaign"]} == {
        CAMPAIGN: 3,
        None: 3,
    }
    assert sum(one["asked"] for one in told["by_hour"]) == 6
    assert told["skipped"] == [{"channel": "EMAIL", "reason": "unknown_customer", "messages": 1}]
    assert told["sources"] == {"EMAIL": "topic", "PUSH": "topic"}
    assert told["records"] > 10


@pytest.mark.parametrize(
    ("scope", "asked"),
    [
        (("--campaign", CAMPAIGN), 3),
        (("--requester", "billing"), 1),
        (("--until", "+10m"), 4),
        (("--since", "0s", "--until", "+2h"), 2),
    ],
)
def test_a_part_of_it(audit: Run, settled: Settings, scope: tuple[str, str], asked: int) -> None:
    result = audit(settled, "--json", *scope)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["total"]["asked"] == asked


def test_nothing_of_that_name(audit: Run, settled: Settings, tmp_path: Path) -> None:
    path = tmp_path / "audit.html"
    result = audit(settled, "--campaign", "other", "--html", path)
    assert result.exit_code == 0
    assert "Nothing was asked for, and nothing was dispatched; is the scope" in result.stdout
    assert "Is the scope as meant?" in path.read_text("utf-8")
    assert json.loads(audit(settled, "--campaign", "other", "--json").stdout)["total"]["asked"] == 0


def test_it_does_not_reconcile(audit: Run, spoiled: Settings) -> None:
    result = audit(spoiled)
    assert result.exit_code == 1
    assert "It does not reconcile." in result.stdout
    assert "a record that is not SAEC's" in result.stdout
    assert f"{spoiled.topics.dispatch[Channel.EMAIL]}/" in result.stdout


def test_findings_as_json_and_csv(audit: Run, spoiled: Settings, tmp_path: Path) -> None:
    path = tmp_path / "findings.csv"
    path.touch(mode=0o644)
    page = tmp_path / "page.html"
    result = audit(spoiled, "--json", "--most", "1", "--csv", path, "--html", page)
    assert [one.stat().st_mode & 0o777 for one in (path, page)] == [0o600, 0o600]
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert told["reconciles"] is False
    assert told["found"] == {"duplicate": 1, "unrequested": 1, "foreign": 1}
    assert [one["kind"] for one in told["findings"]] == ["duplicate"]
    with path.open(encoding="utf-8", newline="") as file:
        duplicate, unrequested, foreign = csv.DictReader(file)
    topic = spoiled.topics.dispatch[Channel.EMAIL]
    assert (duplicate["kind"], duplicate["messages"]) == ("duplicate", "1")
    assert (duplicate["campaign_id"], duplicate["channel"]) == (CAMPAIGN, "EMAIL")
    assert duplicate["customer_id"] in {"ana", "bia"}
    assert len(duplicate["places"].split()) == 2
    assert duplicate["due_at"].endswith("Z")
    assert (unrequested["kind"], unrequested["due_at"]) == ("unrequested", f"{2**60} ms")
    assert foreign["kind"] == "foreign"
    assert foreign["places"].startswith(f"{topic}/")
    assert foreign["detail"] == told_reason(foreign["detail"])


def told_reason(text: str) -> str:
    """A reason code and nothing that was in the record."""
    assert text.replace("_", "").isalpha()
    return text


def test_a_page(audit: Run, spoiled: Settings, tmp_path: Path) -> None:
    path = tmp_path / "audit.html"
    assert audit(spoiled, "--html", path).exit_code == 1
    text = path.read_text("utf-8")
    assert "✗ It does not reconcile." in text
    assert "&lt;script&gt;november" in text
    assert "<script" not in text
    assert text.count("<svg") == 2
    assert f"{spoiled.topics.dispatch[Channel.EMAIL]}/" in text.partition('id="foreign"')[2]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--since", "yesterday"), ("--since", "10m")),
        (("--since", "2999-01-01T00:00:00Z"), ("--since", "in the future")),
        (("--until", "noon"), ("--until", "ISO 8601")),
        (("--late", "much"), ("--late", "5m")),
        (("--most", "-1"), ("--most",)),
        (("--memory-mb", "1"), ("--memory-mb", "64")),
        (("--csv", "no/such/folder/x.csv"), ("--csv", "in a folder that exists")),
        (("--html", "."), ("--html", "in a folder that exists")),
    ],
)
def test_wrong_options(saec: Run, given: tuple[str, str], told: tuple[str, ...]) -> None:
    result = saec("audit", *given, SAEC_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert result.exit_code == 2
    assert all(text in result.stderr for text in told)
    assert result.stdout == ""


def test_no_topics(saec: Run, settled: Settings, tmp_path: Path) -> None:
    variables = environment(settled) | {"SAEC_TOPIC_PREFIX": "nothing."}
    result = saec("audit", "--work", tmp_path, **variables)
    assert result.exit_code == 3
    assert "saec init" in result.stderr
    assert "Traceback" not in result.output


def test_kafka_is_away(saec: Run, settled: Settings, tmp_path: Path) -> None:
    variables = environment(settled) | {"SAEC_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    result = saec("audit", "--work", tmp_path, **variables)
    assert result.exit_code == 3
    assert "SAEC_BOOTSTRAP_SERVERS" in result.stderr
    assert "saec up" in result.stderr


@pytest.mark.parametrize(
    ("package", "options"),
    [
        ("duckdb", ""),
        ("pyarrow", ""),
        ("numpy", ""),
        ("jinja2", "--html"),
        ("matplotlib", "--html"),
    ],
)
def test_without_the_extra(package: str, options: str, tmp_path: Path) -> None:
    done = python(
        f"import sys; sys.modules[{package!r}] = None\nfrom saec.cli import main; main()",
        "audit",
        *([options, str(tmp_path / "x.html")] if options else []),
    )
    assert done.returncode == 3
    assert f"({package})" in done.stderr
    assert 'pip install "saec[audit]"' in done.stderr.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["--help", "audit --help", "settings", "status --help"])
def test_nobody_else_loads_what_an_audit_needs(command: str) -> None:
    done = python(
        "import sys; from saec.cli.app import app\n"
        "app(sys.argv[1:], standalone_mode=False)\n"
        f"print('loaded:', *sys.modules.keys() & set({_HEAVY}))",
        *command.split(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"


def python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, with none of what this one has loaded."""
    variables = os.environ | {"NO_COLOR": "1", "COLUMNS": "160"}
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        env=variables,
        check=False,
        timeout=60,
    )
