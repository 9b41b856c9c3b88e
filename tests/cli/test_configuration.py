"""Settings as the commands see them, and the table of the docs."""

from pathlib import Path

import pytest

from saec.settings import Settings
from tests.cli.conftest import Run

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


NO_SERVERS = (
    "",
    " ",
    "secret",
    "secret:",
    ":9092",
    "secret:kafka",
    "secret:0",
    "secret:65536",
    "secret:9092,",
    "secret:9092;secret:9092",
    "secret:9092 secret:9092",
    "u:secret@h:9092",
    "http://secret/:9092",
    "::1:9092",
)
SERVERS = (
    "127.0.0.1:9092",
    "a.example.com:9092, b.example.com:9093",
    "[::1]:9092",
    "[fe80::1%25eth0]:9092",
    "kafka_1:65535",
)


@pytest.mark.parametrize("servers", SERVERS)
def test_servers_as_the_kafka_client_takes_them(servers: str) -> None:
    assert Settings(bootstrap_servers=servers).bootstrap_servers == servers


def test_the_docs_have_the_table_of_all_settings(saec: Run) -> None:
    table = saec("settings", "--markdown").stdout
    assert table in DOCS.read_text("utf-8"), "put the output of `saec settings --markdown` there"
    for name in Settings.model_fields:
        assert f"| `SAEC_{name.upper()}` |" in table


def test_every_setting_says_what_it_means() -> None:
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SAEC_SHARDS", "0"),
        ("SAEC_TOPIC_PREFIX", "secret value"),
        ("SAEC_KAFKA", "secret{"),
        ("SAEC_KAFKA", '{"sasl.password": 1, "x": "secret"}'),
        ("SAEC_KAFKA", '["secret"]'),
        ("SAEC_LOG_LEVEL", "secret"),
        *(("SAEC_BOOTSTRAP_SERVERS", value) for value in NO_SERVERS),
    ],
)
def test_a_wrong_setting_is_named_without_its_value(saec: Run, variable: str, value: str) -> None:
    result = saec("pending", **{variable: value})
    assert result.exit_code == 3
    assert variable in result.stderr
    assert "secret" not in result.output
    assert "Traceback" not in result.output


def test_a_protocol_before_a_server_is_refused_with_where_it_belongs(saec: Run) -> None:
    result = saec("pending", SAEC_BOOTSTRAP_SERVERS="SASL_SSL://secret:9092")
    assert result.exit_code == 3
    assert "security.protocol in SAEC_KAFKA" in result.stderr
    assert "secret" not in result.output


def test_a_database_that_does_not_answer_is_exit_code_3(saec: Run) -> None:
    result = saec("pending", SAEC_DATABASE_URL="postgresql://u:hidden@127.0.0.1:1/saec")
    assert result.exit_code == 3
    assert "SAEC_DATABASE_URL" in result.stderr
    assert "hidden" not in result.output
