"""Traffic that others could read is told: for hosts elsewhere, and for no others."""

import json
import os
import subprocess
import sys

import pytest

from saec import encryption
from saec.settings import Settings

TLS = {"security.protocol": "SASL_SSL"}


@pytest.mark.parametrize(
    ("servers", "kafka", "told"),
    [
        ("127.0.0.1:9092", {}, None),
        ("localhost:9092,[::1]:9093,127.9.9.9:1", {}, None),
        ("127.0.0.1:9092,kafka.example.com:9092", {}, "in the clear"),
        ("[2001:db8::1]:9092", {}, "in the clear"),
        ("kafka.example.com:9092", {"security.protocol": "sasl_plaintext"}, "in the clear"),
        ("127.0.0.1:9092", {"bootstrap.servers": "kafka.example.com:9092"}, "in the clear"),
        ("127.0.0.1:9092", {"metadata.broker.list": "kafka.example.com"}, "in the clear"),
        ("kafka.example.com:9092", TLS, None),
        ("kafka.example.com:9092", {"security.protocol": "ssl"}, None),
        (
            "kafka.example.com:9092",
            TLS | {"enable.ssl.certificate.verification": "False"},
            "not checked",
        ),
        (
            "kafka.example.com:9092",
            TLS | {"ssl.endpoint.identification.algorithm": "none"},
            "not checked",
        ),
        ("localhost:9092", TLS | {"enable.ssl.certificate.verification": "false"}, None),
    ],
)
def test_kafka(servers: str, kafka: dict[str, str], told: str | None) -> None:
    found = encryption.kafka(Settings(bootstrap_servers=servers, kafka=kafka))
    assert (found is None) if told is None else (found is not None and told in found.what)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://u:p@127.0.0.1/saec", None),
        ("postgresql://u:p@localhost:5432/saec?sslmode=disable", None),
        ("postgresql://u@/saec?host=/var/run/postgresql", None),
        ("postgresql:///saec", None),
        ("postgresql://u:p@db.example.com/saec", "prefer"),
        ("postgresql://u:p@db.example.com/saec?sslmode=require", "require"),
        ("postgresql://u:p@db.example.com/saec?sslmode=verify-ca", "verify-ca"),
        ("postgresql://u:p@db.example.com/saec?sslmode=verify-full", None),
        ("postgresql://u:p@localhost:1,db.example.com:2/saec", "prefer"),
        ("postgresql://u:p@/saec?host=127.0.0.1,10.0.0.1", "prefer"),
        ("postgresql://u:p@localhost/saec?hostaddr=10.0.0.1", "prefer"),
        ("postgresql://u:p@[2001:db8::1]/saec", "prefer"),
    ],
)
def test_postgresql(url: str, told: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    found = encryption.postgresql(Settings(database_url=url))
    assert (found is None) if told is None else (found is not None and told in found.what)


@pytest.mark.parametrize("module", ["consumers.requests", "producers.http"])
def test_a_process_tells_it_once_when_it_starts(module: str) -> None:
    """Without a word of where that is, or of the password."""
    far = {
        "SAEC_BOOTSTRAP_SERVERS": "kafka.invalid:1",
        "SAEC_DATABASE_URL": "postgresql://u:hunter2@db.invalid:1/saec",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", module], env=os.environ | far, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process, process.stderr as said:
        lines = []
        for line in said:
            lines.append(line)
            if "waiting for" in line:
                break
        process.kill()
    told = [json.loads(line) for line in lines if "traffic can be read" in line]
    assert len(told) == 2
    assert {one["level"] for one in told} == {"warning"}
    assert "hunter2" not in "".join(lines)
    assert not any("invalid" in str(one) for one in told)
