"""The docs say what the code does: names, examples, commands and links in them are checked here.

Invariant: nothing here runs Kafka or PostgreSQL.
"""

import json
import os
import re
import subprocess
import unicodedata
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from saec.cli.app import app
from saec.contracts import dispatch
from saec.contracts.decode import decode_customer, decode_request
from saec.contracts.events import (
    MAX_ATTRIBUTES,
    MAX_CUSTOMERS,
    MAX_MESSAGE_BYTES,
    Channel,
    CustomerRegistered,
    ScheduleRequested,
)
from saec.contracts.status import Status
from saec.doctor import examine
from saec.errors import Reason
from saec.http.bodies import PAUSE_S, STREAM_S, WHOLE_S
from saec.http.bulk import MOST_LINES
from saec.http.preferences import LONGEST_WAIT_S
from saec.http.problems import status_of
from saec.http.protocol import HEAD_S, MOST_HEAD_BYTES
from saec.http.replies import STATUSES
from saec.http.shapes import REASONS
from saec.settings import Settings, Topics
from saec.store.tables import metadata

ROOT = Path(__file__).parent.parent
README, LEIA_ME = ROOT / "README.md", ROOT / "README.pt-BR.md"
READMES = (README, LEIA_ME)
ANSWERS, ARCHITECTURE = ROOT / "docs/answers.md", ROOT / "docs/architecture.md"
HTTP = ROOT / "docs/http.md"
DOCTOR = ROOT / "docs/doctor.md"
IGNORED = {"node_modules", "dist"}
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(p.startswith(".") or p in IGNORED for p in path.relative_to(ROOT).parts)
)
# Variables that are no settings of the processes.
OTHER_VARIABLES = {
    *("SAEC_CACHE_DIR", "SAEC_MAVEN_URL"),
    *("SAEC_HTTP_URL", "SAEC_API_KEY"),
    *("SAEC_TEST_BOOTSTRAP", "SAEC_TEST_DSN", "SAEC_TEST_FOREIGN", "SAEC_TEST_EXAMPLES"),
}

per_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
per_readme = pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def blocks(page: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a page: (language, content)."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def code(page: Path) -> str:
    """What a page shows as code: blocks and inline."""
    inline = re.findall(r"`([^`\n]+)`", prose(page))
    return "\n".join([*(content for _, content in blocks(page)), *inline])


def headings(page: Path) -> list[tuple[int, str]]:
    found = re.findall(r"^(#+) (.+)$", prose(page), re.MULTILINE)
    return [(len(marks), title) for marks, title in found]


def rows(page: Path) -> Iterator[list[str]]:
    """The cells of every table row."""
    for line in prose(page).splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def first_cells(page: Path) -> set[str]:
    """The code that stands alone in the first cell of a table row."""
    return {cells[0].strip("`") for cells in rows(page) if re.fullmatch(r"`[^`]+`", cells[0])}


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    return {_anchor(title) for _, title in headings(page)}


def _anchor(title: str) -> str:
    kept = [c for c in title.lower() if c in "-_ " or unicodedata.category(c)[0] in "LN"]
    return "".join(kept).replace(" ", "-")


def commands() -> dict[str, Any]:
    """The commands of `saec`, by name."""
    found: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    return found


# Links and names


@per_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@per_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^|[\s(])make ([a-z]+)", code(page)))
    assert named <= targets


@per_page
def test_variables_exist(page: Path) -> None:
    known = {f"SAEC_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    assert set(re.findall(r"SAEC_[A-Z][A-Z_]*[A-Z]", text_of(page))) <= known


@per_page
def test_commands_and_their_options_exist(page: Path) -> None:
    known = commands()
    for name, rest in re.findall(r"(?:^|/|\s)saec ([a-z]+)([^\n|]*)", code(page)):
        assert name in known, name
        command = known[name]
        every = [command, *getattr(command, "commands", {}).values()]
        options = {o for one in every for p in one.params for o in (*p.opts, "--json")}
        assert set(re.findall(r"(?<=\s)--[a-z-]+", rest)) <= options


@per_page
def test_source_files_and_packages_exist(page: Path) -> None:
    named = re.findall(r"`((?:saec|consumers|producers|schemas|tests)/[\w./-]*)`", prose(page))
    for path in named:
        assert (ROOT / path).exists(), path


@per_page
def test_modules_to_run_exist(page: Path) -> None:
    for module in re.findall(r"python -m ([a-z_]+(?:\.[a-z_]+)+)", code(page)):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


# Completeness


@pytest.mark.parametrize("page", [*READMES, ANSWERS], ids=lambda page: page.name)
def test_every_status_and_reason_is_described(page: Path) -> None:
    assert {status.value for status in Status} <= first_cells(page)
    assert {reason.value for reason in Reason} <= set(re.findall(r"`([a-z0-9_]+)`", prose(page)))


def test_every_reason_has_a_row_of_its_own_with_what_to_do() -> None:
    described = {
        cells[0].strip("`"): cells[1:]
        for cells in rows(ANSWERS)
        if re.fullmatch(r"`[a-z0-9_]+`", cells[0])
    }
    for reason in Reason:
        cells = described[reason.value]
        assert len(cells) == 2, reason
        assert all(cells), reason


def test_no_reason_is_described_that_does_not_exist() -> None:
    tables = text_of(ANSWERS).partition("## Reason codes")[2]
    assert set(re.findall(r"^\| `(\w+)`", tables, re.MULTILINE)) == {r.value for r in Reason}


@pytest.mark.parametrize("page", [*READMES, ARCHITECTURE], ids=lambda page: page.name)
def test_every_topic_is_named(page: Path) -> None:
    named = set(re.findall(r"`(saec\.[a-z.]+)`", prose(page)))
    assert set(Topics("saec.").all) <= named


def test_every_table_and_package_is_described() -> None:
    first = first_cells(ARCHITECTURE)
    assert set(metadata.tables) <= first
    packages = {f"saec/{p.parent.name}/" for p in (ROOT / "saec").glob("*/__init__.py")}
    assert packages <= first


@per_readme
def test_every_command_is_described(page: Path) -> None:
    described = {cell.split()[1] for cell in first_cells(page) if cell.startswith("saec ")}
    assert described == set(commands())


@per_readme
def test_defaults_are_those_of_the_settings(page: Path) -> None:
    fields = {f"SAEC_{name.upper()}": field for name, field in Settings.model_fields.items()}
    shown = [cells for cells in rows(page) if cells[0].strip("`") in fields]
    assert len(shown) >= 5
    for variable, default, _ in shown:
        value = fields[variable.strip("`")].get_default(call_default_factory=True)
        expected = "" if value in (None, {}) else f"`{json.dumps(value)}`".replace('"', "")
        assert default == expected, variable


@per_readme
def test_bounds_are_those_of_the_code(page: Path) -> None:
    settings = {name: field.default for name, field in Settings.model_fields.items()}
    numbers = {
        *(MAX_CUSTOMERS, MAX_MESSAGE_BYTES, settings["max_request_bytes"], MAX_ATTRIBUTES),
        *(settings[name] for name in ("grace_s", "horizon_days", "shards", "partitions")),
        *(value for name, value in settings.items() if name.endswith("retention_days")),
    }
    shown = set(re.findall(r"[0-9]+(?:[.,][0-9]{3})*", prose(page)))
    plain = {re.sub(r"[.,]", "", number) for number in shown}
    assert {str(number) for number in numbers} <= plain


def test_every_check_of_the_doctor_is_described_and_no_other() -> None:
    table = text_of(DOCTOR).partition("## Checks")[2].partition("## What")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    described = re.findall(r"`(\w+)`", " ".join(cells))
    checks = [*examine.FIRST, *examine.KAFKA, *examine.STORE, *examine.BOTH]
    assert sorted(described) == sorted(checks)


def test_every_code_of_http_is_described_with_its_status() -> None:
    table = text_of(HTTP).partition("## What to do with each code")[2].partition("\n## ")[0]
    described = re.findall(r"^\| `(\w+)` \| (\d+) \| .+ \|$", table, re.MULTILINE)
    assert {code: int(status) for code, status in described} == STATUSES


def test_statuses_of_reasons_are_those_of_the_code() -> None:
    told = text_of(HTTP).partition("with these statuses:")[2].partition("\n")[0]
    told_of = {
        (code, int(status))
        for status, codes in re.findall(r"(\d{3}) for ((?:[^;.]|\.\w)+)", told)
        for code in re.findall(r"`(\w+)`", codes)
    }
    statuses = {(reason.value, int(status_of(reason))) for reason in REASONS}
    assert told_of == {(reason, status) for reason, status in statuses if status != 422}
    assert "422 for the others" in told


def test_limits_of_http_are_those_of_the_code() -> None:
    table = text_of(HTTP).partition("## Limits")[2].partition("\n## ")[0]
    shown = set(re.findall(r"[0-9]+(?:,[0-9]{3})*", table))
    settings = {name: field.default for name, field in Settings.model_fields.items()}
    numbers = {
        *(settings[name] for name in ("max_request_bytes", "http_rate", "http_connections")),
        *(MOST_LINES, MOST_HEAD_BYTES, LONGEST_WAIT_S),
        *(int(seconds) for seconds in (WHOLE_S, PAUSE_S, STREAM_S / 60, HEAD_S)),
    }
    assert {f"{number:,}" for number in numbers} <= shown


# The two READMEs


def test_the_readmes_have_the_same_sections() -> None:
    assert [level for level, _ in headings(README)] == [level for level, _ in headings(LEIA_ME)]


def test_the_readmes_show_the_same_code() -> None:
    english, portuguese = ([b for b in blocks(page) if b[0] != "mermaid"] for page in READMES)
    assert english == portuguese
    drawn = [
        [re.sub(r"[\[(].*[\])]", "", c) for k, c in blocks(p) if k == "mermaid"] for p in READMES
    ]
    assert drawn[0] == drawn[1]


def test_the_readmes_have_the_same_tables_and_names() -> None:
    english, portuguese = ([len(cells) for cells in rows(page)] for page in READMES)
    assert english == portuguese
    names = [sorted(set(re.findall(r"`([^`\n]+)`", prose(page)))) for page in READMES]
    assert names[0] == names[1]
    links = [sorted(re.findall(r"\]\(([^)\s]+)\)", prose(page))) for page in READMES]
    assert [link for link in links[0] if link != LEIA_ME.name] == [
        link for link in links[1] if link != README.name
    ]


# Examples


@per_readme
def test_the_events_shown_are_valid(page: Path) -> None:
    shown = [json.loads(content) for language, content in blocks(page) if language == "json"]
    types = [event["type"].rpartition(".")[2] for event in shown]
    assert types == ["ScheduleRequested", "CancelRequested", "CustomerRegistered"]
    schedule, cancel, customer = (json.dumps(event).encode() for event in shown)
    scheduled = decode_request(schedule, None, Settings.model_fields["max_request_bytes"].default)
    cancelled = decode_request(cancel, None, 1_000)
    assert (scheduled.id, scheduled.requester) == (cancelled.id, cancelled.requester)
    decode_customer(shown[2]["id"].encode(), customer, None, 1_000)


@per_readme
def test_the_fields_of_a_request_are_all_described(page: Path) -> None:
    fields = {f.alias or n for n, f in ScheduleRequested.model_fields.items() if n != "message"}
    assert fields <= first_cells(page)


@per_readme
def test_what_is_typed_first_publishes_valid_events(page: Path, tmp_path: Path) -> None:
    script = next(content for _, content in blocks(page) if "kcat -P" in content)
    assert len(script.splitlines()) == 5, "five lines were promised"
    published = _publish(script, tmp_path)
    (topic, key, value), (requests, id_, request) = published
    assert (topic, requests) == ("saec.customers", "saec.requests")
    customer = decode_customer(key.encode(), value, None, 10_000)
    scheduled = decode_request(request, None, 10_000)
    assert isinstance(customer, CustomerRegistered)
    assert isinstance(scheduled, ScheduleRequested)
    assert str(scheduled.id) == id_
    assert scheduled.customers == (customer.id,)
    assert f"--requester {scheduled.requester}" in prose(page)


def _publish(script: str, folder: Path) -> list[tuple[str, str, bytes]]:
    """Run the lines with a kcat that only writes down: (topic, key, value) of each record."""
    programs = folder / "bin"
    programs.mkdir()
    kcat = programs / "kcat"
    kcat.write_text(
        '#!/bin/sh\n[ "$1" = -P ] || exit 0\n'
        f'number=$(ls "{folder}" | grep -c args); echo "$@" >"{folder}/args.$number"\n'
        f'cat >"{folder}/value.$number"\n'
    )
    kcat.chmod(0o755)
    publishing = "\n".join(line for line in script.splitlines() if ".venv/" not in line)
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "SAEC_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    subprocess.run(["sh", "-euc", publishing], env=environment, check=True, timeout=60)
    found = []
    for number in range(len(list(folder.glob("args.*")))):
        given = (folder / f"args.{number}").read_text("utf-8").split()
        value = (folder / f"value.{number}").read_bytes().removesuffix(b"\n")
        assert b"\n" not in value, "kcat takes every line as a record"
        found.append((given[given.index("-t") + 1], given[given.index("-k") + 1], value))
    return found


@per_readme
def test_python_examples_compile_and_import_what_exists(page: Path) -> None:
    examples = [content for language, content in blocks(page) if language == "python"]
    assert examples
    for example in examples:
        compile(example, page.name, "exec")
        for module, name in re.findall(r"^from (saec\S*) import (\w+)$", example, re.MULTILINE):
            assert (module, name) == (dispatch.__name__, dispatch.decode_dispatch.__name__)


@per_readme
def test_the_message_ids_shown_are_right(page: Path) -> None:
    namespace = re.search(r"`([0-9a-f-]{36})`:\n\n\|[^|]+\| `message_id` \|", text_of(page))
    assert namespace
    request = uuid.UUID(namespace[1])
    shown = dict(re.findall(r"^\| `([A-Z]+:\S*)` \| `([0-9a-f-]{36})` \|$", text_of(page), re.M))
    assert {name.partition(":")[0] for name in shown} == {channel.value for channel in Channel}
    for name, message_id in shown.items():
        channel, _, customer = name.partition(":")
        assert message_id == str(uuid.uuid5(request, name))
        assert message_id == dispatch.message_id(request.bytes, Channel(channel), customer or None)


# Decisions


def test_every_decision_is_listed_and_complete() -> None:
    folder = ROOT / "docs/decisions"
    records = sorted(folder.glob("0*.md"))
    listed = re.findall(r"^(\d+)\. \[(.+)\]\((.+)\)$", text_of(folder / "README.md"), re.MULTILINE)
    assert [name for _, _, name in listed] == [record.name for record in records]
    for record, (number, title, _) in zip(records, listed, strict=True):
        assert int(record.name[:4]) == int(number)
        assert headings(record)[0] == (1, f"{number}. {title}")
        sections = [name for level, name in headings(record) if level == 2]
        assert sections == [
            "Context",
            "Decision",
            "Consequences",
            "What would make us look again",
        ]
