"""docs/operations.md describes every event a process logs, and why it stops or halts a shard.

The events and the messages are collected from the source, so that one nobody described fails here.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/operations.md").read_text("utf-8")
# What only commands say, not processes.
COMMANDS = {
    "cli", "demo", "doctor", "history", "audit", "recover", "replay", "embedded", "supervise"
}  # fmt: skip
COMMAND_MODULES = {
    "kafka/publish.py",
    "kafka/follow.py",
    "kafka/bulk.py",
    "kafka/limits.py",
    "kafka/stretches.py",
    "kafka/seek.py",
    "kafka/survey.py",
    "kafka/acls.py",
}
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
STOPS = {"ConfigurationError", "LostRecordsError", "MembershipError"}
HALTS = {"ContradictionError", "HaltError"}
FAILS = {
    "BeatError",
    "BrokerUnavailableError",
    "ClockAheadError",
    "EndLostError",
    "GapError",
    "InDoubtError",
    "ReadOnlyError",
    "StoreChangedError",
    "StoreUnavailableError",
    "UnexpectedBatchError",
    "_HangsError",
}
ADVICE = (
    "run ",
    "check ",
    "see ",
    "since ",
    "alter ",
    "set ",
    "stop ",
    "upgrade ",
    "with ",
    "or ",
    "and ",
    "this ",
    "somebody ",
)
# Its failures are answered over HTTP, where docs/http.md describes them; none is logged.
ANSWERED = "saec/kafka/async_producer.py"
SHORTEST = 8  # of what is worth looking for


def sources() -> Iterator[tuple[str, ast.Module]]:
    """The modules that run in a process."""
    for package in ("saec", "consumers", "producers"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT / package).as_posix()
            if name.partition("/")[0] not in COMMANDS and name not in COMMAND_MODULES:
                yield f"{package}/{name}", ast.parse(path.read_text("utf-8"))


def calls(tree: ast.AST) -> Iterator[tuple[str, str, ast.Call]]:
    """Calls: (what the function belongs to, its name, the call)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            owner = getattr(node.func, "value", None)
            belongs = getattr(owner, "attr", None) or getattr(owner, "id", "")
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
            yield belongs, name, node


def events() -> dict[tuple[str, str], str]:
    """(event, level) -> where. An outage is a warning; its name is given when it is made."""
    found = {}
    for where, tree in sources():
        for belongs, name, call in calls(tree):
            if belongs in {"_log", "log"} and name in LEVELS:
                event = call.args[0]
                if isinstance(event, ast.Constant):
                    found[str(event.value), name] = where
                else:  # in saec/outage.py, whose events are named where it is made
                    assert where == "saec/outage.py", (where, event.lineno)
            elif name == "Outage":
                event = call.args[2]
                assert isinstance(event, ast.Constant), where
                found[str(event.value), "warning"] = where
    return found


def longest_clause(node: ast.AST) -> str:
    """The longest literal part of a text that says what is, not what to do about it."""
    pieces = [
        str(part.value)
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    clauses = [clause.strip() for piece in pieces for clause in re.split(r"[:;,] ", piece)]
    return max((c for c in clauses if not c.startswith(ADVICE)), key=len, default="")


def plain(text: str) -> str:
    """Without what Markdown adds, or what is different in a table."""
    return re.sub(r"\s+", " ", text.replace("`", ""))


def described() -> set[tuple[str, str]]:
    """The rows of the table of events."""
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \| [^|]+ \| [^|]*\|$", PAGE, re.MULTILINE)
    return set(rows)


def raised(kinds: set[str]) -> dict[str, str]:
    """The messages of these errors -> where."""
    found = {}
    for where, tree in sources():
        for _, name, call in calls(tree):
            if name in kinds and call.args and (clause := longest_clause(call.args[0])):
                found[clause] = where
    return found


def worded() -> dict[str, str]:
    """The messages that an error's class has itself -> where."""
    found = {}
    for where, tree in sources():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.ClassDef) and node.name.endswith("Error")):
                continue
            for _, name, call in calls(node):
                if name == "__init__" and call.args and (clause := longest_clause(call.args[0])):
                    found[clause] = where
    return found


def reasons() -> dict[str, str]:
    """Why a shard is halted: also what is named by a constant -> where."""
    found = raised(HALTS)
    for where, tree in sources():
        if not where.startswith("saec/dispatch/"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and "SELECT" not in (
                text := longest_clause(node.value)
            ):
                found |= {text: where} if text.count(" ") >= 4 else {}
    return found


def test_the_events_of_the_logs_are_those_described() -> None:
    logged = events()
    assert len(logged) >= 12
    assert set(logged) == described()


def test_every_message_a_process_stops_with_is_described() -> None:
    messages = raised(STOPS)
    assert len(messages) >= 12
    undescribed = {clause: at for clause, at in messages.items() if not _is_described(clause)}
    assert undescribed == {}


def test_every_message_of_a_failure_is_described() -> None:
    messages = raised(FAILS) | worded()
    assert len(messages) >= 12
    assert "were taken over by another worker" in messages
    undescribed = {
        clause: at
        for clause, at in messages.items()
        if not (at == ANSWERED or _is_described(clause))
    }
    assert undescribed == {}


def test_every_error_of_a_process_is_looked_for() -> None:
    """A new kind of error needs its messages described as well."""
    kinds = {
        node.name
        for _, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error")
    }
    quoting = {"SaecError", "StoreConflictError"}  # the root, and PostgreSQL's own words
    answered = {"RejectedError", "AddressError"}  # docs/answers.md
    within = {"ShardsLostError", "_TooManyError"}  # raised and caught, never told
    assert kinds - quoting - answered - within == STOPS | HALTS | FAILS


def test_every_reason_of_a_halt_is_described() -> None:
    found = reasons()
    assert len(found) >= 8
    undescribed = {clause: at for clause, at in found.items() if not _is_described(clause)}
    assert undescribed == {}


def test_sections_that_messages_point_to_exist() -> None:
    """`docs/operations.md, Halted shards` stands in logs and findings."""
    pointed = set()
    for path in sorted((ROOT / "saec").rglob("*.py")):
        text = re.sub(r'"\s+f?"', "", path.read_text("utf-8"))
        pointed |= set(re.findall(r"docs/([\w-]+\.md), ([A-Z][\w ]*\w)", text))
    assert len(pointed) >= 2
    for page, section in pointed:
        assert f"## {section}\n" in (ROOT / "docs" / page).read_text("utf-8"), (page, section)


def _is_described(clause: str) -> bool:
    return len(clause) < SHORTEST or plain(clause) in plain(PAGE)
