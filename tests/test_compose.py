"""docker-compose.yml is valid, and each of its commands works against the real parts."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from saec.settings import Settings
from saec.supervise.endpoint import free_port

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
PROCESSES = sorted(set(OURS) - {"init"})
TIMEOUT_S = 60
EVERYWHERE = "0.0.0.0"  # noqa: S104 - of a container


def test_it_fits_the_schema_of_compose() -> None:
    schema = json.loads((ROOT / "tests/data/compose-spec.json").read_text("utf-8"))
    jsonschema.validate(COMPOSE, schema, cls=jsonschema.Draft202012Validator)


def test_every_image_is_pinned_and_every_service_of_ours_or_below_it_is_checked() -> None:
    images = {service["image"] for service in SERVICES.values() if "build" not in service}
    assert all(re.search(r":v?\d", image) for image in images)
    assert {"apache/kafka:4.2.2", "postgres:18"} <= images
    long_running = set(SERVICES) - {"init", "ui"}
    assert {name for name in SERVICES if "healthcheck" in SERVICES[name]} == long_running


def test_what_is_waited_for_can_come_true() -> None:
    for service in SERVICES.values():
        for name, wanted in service.get("depends_on", {}).items():
            condition = wanted["condition"]
            assert condition in {"service_healthy", "service_completed_successfully"}
            assert (condition == "service_healthy") == ("healthcheck" in SERVICES[name])


def test_nothing_is_reachable_from_other_machines() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_endpoint_is_reached_where_it_listens() -> None:
    http = SERVICES["http"]
    (port,) = http["ports"]
    default = Settings.model_fields["http_port"].default
    assert port == f"127.0.0.1:{default}:{default}"
    assert "SAEC_HTTP_PORT" not in http["environment"]
    assert http["environment"]["SAEC_HTTP_HOST"] == EVERYWHERE
    assert http["environment"].items() >= SERVICES["requests"]["environment"].items()


def test_who_creates_the_topics_of_requesters_knows_them_and_so_does_who_forwards() -> None:
    for name in ("init", "requesters"):
        assert SERVICES[name]["environment"]["SAEC_REQUESTERS"] == "${SAEC_REQUESTERS:-}"
    # It ends where there are none, so nobody starts it unasked.
    assert SERVICES["requesters"]["profiles"] == ["requesters"]


def test_data_survives_its_container() -> None:
    mounted = {
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
    }
    assert mounted == set(COMPOSE["volumes"])


@pytest.mark.parametrize("service", sorted(OURS))
def test_only_settings_that_exist_are_set(service: str) -> None:
    known = {f"SAEC_{name.upper()}" for name in Settings.model_fields}
    assert set(OURS[service]["environment"]) <= known


def test_the_init_command_prepares_an_installation(installation: Settings) -> None:
    done = run(OURS["init"]["command"], installation)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("service", PROCESSES)
def test_a_process_gets_healthy_and_stops_when_told(
    service: str, make_installation: Callable[..., Settings]
) -> None:
    installation = make_installation(http_port=free_port(EVERYWHERE, 0), requesters="billing")
    check = OURS[service]["healthcheck"]["test"]
    assert check[0] == "CMD"
    assert run(check[1:], installation).returncode == 1
    with started(OURS[service]["command"], installation) as process:
        deadline_s = time.monotonic() + TIMEOUT_S
        while run(check[1:], installation).returncode != 0:
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline_s, "it did not get healthy"
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
    assert run(check[1:], installation).returncode == 1


def run(command: list[str], settings: Settings) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        here(command),
        env=environment(settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@contextmanager
def started(command: list[str], settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(here(command), env=environment(settings), cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def here(command: list[str]) -> list[str]:
    """The command as the image runs it, with this environment's programs."""
    program, *arguments = command
    assert program in {"python", "saec"}
    return [str(Path(sys.executable).parent / program), *arguments]


def environment(settings: Settings) -> Mapping[str, str]:
    """What compose sets, pointed at the parts of this test."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "SAEC_HTTP_HOST": SERVICES["http"]["environment"]["SAEC_HTTP_HOST"],
        "SAEC_HTTP_PORT": str(settings.http_port),
        "SAEC_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "SAEC_DATABASE_URL": settings.database_url,
        "SAEC_TOPIC_PREFIX": settings.topic_prefix,
        "SAEC_SHARDS": str(settings.shards),
        "SAEC_REQUESTERS": settings.requesters,
    }
