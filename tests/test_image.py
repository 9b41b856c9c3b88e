"""The image asks for nothing that a restricted platform denies, and its processes need no more.

As Kubernetes runs it under the restricted Pod Security Standard: a user by number, no capability,
no HOME, a root file system that is read-only, and /tmp of its own.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from faults.proxy import Proxy
from saec.settings import Settings
from saec.supervise.endpoint import free_port
from tests.http.endpoint import HOST
from tests.test_compose import OURS, PROCESSES, SERVICES, TIMEOUT_S, here

ROOT = Path(__file__).parent.parent
UID = 10_001
# In a mount namespace of its own: the interpreter is made reachable, /tmp new, the rest read-only.
_NARROWED = """
set -e
mount --make-rprivate /
if [ -n "$CLOSED" ]; then
    held=$(mktemp -d)
    mount --bind "$PYTHON_HOME" "$held"
    mount -t tmpfs -o mode=0755 tmpfs "$CLOSED"
    mkdir -p "$PYTHON_HOME"
    mount --bind "$held" "$PYTHON_HOME"
    umount "$held"
    rmdir "$held"
    mount -o remount,ro "$CLOSED"
fi
mount -o remount,bind,ro /
mount -t tmpfs -o mode=1777 tmpfs /tmp
cd "$APP"
unset HOME CLOSED PYTHON_HOME APP
exec setpriv --reuid=10001 --regid=10001 --clear-groups --bounding-set=-all --inh-caps=-all \\
    --no-new-privs "$@"
"""

_INSIDE = """
cd "$APP"
unset HOME CLOSED PYTHON_HOME APP
exec setpriv --reuid=10001 --regid=10001 --clear-groups --bounding-set=-all --inh-caps=-all \\
    --no-new-privs "$@"
"""


def instructions() -> list[tuple[str, str]]:
    """Those of the Dockerfile, line ends taken out."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines if line]


def test_the_user_is_a_number_and_not_root() -> None:
    (user,) = [value for name, value in instructions() if name == "USER"]
    assert user == f"{UID}:{UID}"
    assert instructions()[-2][0] == "USER"  # nothing behind it but the command


def test_no_pip_is_left_among_what_saec_runs_with() -> None:
    runs = " ".join(value for name, value in instructions() if name == "RUN")
    assert "/opt/saec/bin/pip uninstall --yes pip" in runs


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_container_of_ours_may_do_nothing_but_its_work(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - in the container
    assert service["cap_drop"] == ["ALL"]
    assert not service.keys() & {"cap_add", "privileged", "user", "pid", "network_mode", "volumes"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_container_gets_more_rights_than_it_began_with(name: str) -> None:
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


@pytest.fixture
def narrowed() -> list[str]:
    """What runs a command as a restricted platform would."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        pytest.skip("only root, with unshare and setpriv, can make a root file system read-only")
    wrapper = ["unshare", "--mount", "sh", "-c", _NARROWED, "narrowed"]
    tried = _ran([*wrapper, sys.executable, "-c", "import os; print(os.geteuid())"], {})
    if tried.stdout.strip() != str(UID):
        pytest.skip(f"no mount namespace of our own here: {tried.stderr[-200:]}")
    return wrapper


@pytest.fixture
def reached(
    make_installation: Callable[..., Settings],
) -> Iterator[tuple[Settings, dict[str, str]]]:
    """An installation, and the variables by which another user reaches it: by TCP alone."""
    installation = make_installation(http_port=free_port(HOST, 0), requesters="billing")
    url = make_url(installation.database_url)
    query = {name: str(value) for name, value in url.query.items()}
    path = f"{query['host']}/.s.PGSQL.{url.port or 5432}"

    def reach() -> socket.socket:
        wire = socket.socket(socket.AF_UNIX)
        wire.connect(path)
        return wire

    with closing(Proxy(reach)) as proxy:
        there = url.set(host=HOST, port=proxy.port, query={"sslmode": "disable"})
        yield (
            installation,
            {
                "SAEC_BOOTSTRAP_SERVERS": installation.bootstrap_servers,
                "SAEC_DATABASE_URL": there.render_as_string(hide_password=False),
                "SAEC_TOPIC_PREFIX": installation.topic_prefix,
                "SAEC_SHARDS": str(installation.shards),
                "SAEC_HTTP_PORT": str(installation.http_port),
                "SAEC_REQUESTERS": installation.requesters,
            },
        )


def test_nothing_is_writable_there_but_tmp(narrowed: list[str]) -> None:
    code = """
import os, pathlib, tempfile
assert "HOME" not in os.environ
assert "CapEff:\t0000000000000000" in pathlib.Path("/proc/self/status").read_text()
tempfile.TemporaryFile().close()
for place in ("/var/tmp", ".", "/dev/shm"):
    try:
        tempfile.TemporaryFile(dir=place)
    except OSError:
        continue
    assert place == "/dev/shm", place
"""
    done = _ran([*narrowed, sys.executable, "-c", code], {})
    assert done.returncode == 0, done.stderr


def test_the_commands_work_there(
    narrowed: list[str], reached: tuple[Settings, dict[str, str]]
) -> None:
    _, variables = reached
    for command in (["saec", "init"], ["saec", "keys", "add", "a job", "--requester", "billing"]):
        done = _ran([*narrowed, *here(command)], variables)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("service", PROCESSES)
def test_a_process_gets_healthy_there_and_stops_when_told(
    service: str, narrowed: list[str], reached: tuple[Settings, dict[str, str]]
) -> None:
    _, variables = reached
    environment = _environment(variables)
    command = [*narrowed, *here(OURS[service]["command"])]
    with subprocess.Popen(command, env=environment, cwd=ROOT) as process:
        # In the container of the process, as the engine runs it: with its /tmp.
        enter = ["nsenter", f"--target={process.pid}", "--mount", "sh", "-c", _INSIDE, "inside"]
        check = [*enter, *here(OURS[service]["healthcheck"]["test"][1:])]
        try:
            deadline_s = time.monotonic() + TIMEOUT_S
            while _ran(check, variables).returncode != 0:
                assert process.poll() is None, "it ended by itself"
                assert time.monotonic() < deadline_s, "it did not get healthy"
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT_S) == 0
        finally:
            process.kill()


def _ran(command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=_environment(variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def _environment(variables: dict[str, str]) -> dict[str, str]:
    home = Path(sys.base_prefix)
    closed = [one for one in reversed(home.parents) if not one.stat().st_mode & 0o001]
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "APP": str(ROOT),
        "PYTHON_HOME": str(home),
        "CLOSED": str(closed[0]) if closed else "",
        **variables,
    }
