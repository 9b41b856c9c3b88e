"""Clients are made only with properties that the client knows, and errors quote no value."""

from types import SimpleNamespace

import pytest

from saec.errors import ConfigurationError
from saec.kafka import clients
from saec.settings import Settings


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"nonsense.prop": "s3cret"}, "nonsense.prop"),
        ({"security.protocol": "s3cret"}, "security.protocol"),
        ({"acks": "0"}, ""),
        ({"error_cb": "s3cret"}, "error_cb"),
        ({"default.topic.config": "s3cret"}, ""),
        ({"sasl.mechanism": "GSSAPI", "security.protocol": "SASL_SSL"}, "Kerberos"),
        ({"sasl.mechanism": "PLAIN", "security.protocol": "SASL_SSL"}, "sasl.username"),
        ({"ssl.ca.location": "/s3cret", "security.protocol": "SSL"}, "ssl.ca.location"),
        ({"oauth_cb": "s3cret"}, "`module:function`"),
        ({"oauth_cb": "no_such_s3cret:token"}, "ModuleNotFoundError"),
        ({"oauth_cb": "json:s3cret"}, "`module:function`"),
        ({"oauth_cb": "json:__name__"}, "`module:function`"),
        (
            {
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "OAUTHBEARER",
                "sasl.oauthbearer.metadata.authentication.type": "aws_iam",
            },
            "sasl.oauthbearer",
        ),
        (
            {
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "OAUTHBEARER",
                "sasl.oauthbearer.method": "oidc",
                "sasl.oauthbearer.metadata.authentication.type": "aws_iam",
                "sasl.oauthbearer.config": "region=us-east-1,audience=s3cret",
            },
            "Python package",
        ),
    ],
)
def test_a_property_that_is_refused_is_named_without_its_value(
    properties: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigurationError, match="SAEC_KAFKA") as error:
        clients.producer(Settings(kafka=properties))
    assert named in str(error.value)
    assert "s3cret" not in str(error.value)


def test_what_exactly_once_rests_on_cannot_be_overridden() -> None:
    settings = Settings(
        kafka={"isolation.level": "read_uncommitted", "enable.idempotence": "false"}
    )
    made: list[dict[str, object]] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(clients, "Producer", made.append)
        patched.setattr(clients, "Consumer", made.append)
        clients.producer(settings)
        clients.consumer(settings, "group")
    assert made[0]["enable.idempotence"] is True
    assert made[1]["isolation.level"] == "read_committed"


@pytest.mark.parametrize("max_request_bytes", [50_000, 1_000_000])
def test_what_was_accepted_under_a_larger_limit_is_sent(
    max_request_bytes: int, installation: Settings
) -> None:
    """The limit was lowered since."""
    topic = installation.topics.dispatch["EMAIL"]
    producer = clients.producer(
        installation.model_copy(update={"max_request_bytes": max_request_bytes})
    )
    errors: list[object] = []
    producer.produce(topic, bytes(300_000), on_delivery=lambda error, _: errors.append(error))
    producer.flush(60)
    assert errors == [None]


def test_headers_that_cannot_be_shown_are_told_from_none() -> None:
    def unreadable() -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    assert clients.headers_of(SimpleNamespace(headers=unreadable)) is clients.UNREADABLE
    assert clients.headers_of(SimpleNamespace(headers=lambda: None)) is None
    assert clients.headers_of(SimpleNamespace(headers=lambda: [("a", b"")])) == [("a", b"")]
