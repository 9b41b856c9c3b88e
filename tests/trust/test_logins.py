"""Ways to log in, on the real broker: passwords, tokens by the client itself, tokens by a function.

Each kind of client that SAEC makes logs in, and does what its role may.
"""

import sys
import threading
from collections.abc import Callable

import pytest
import structlog
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from typer.testing import CliRunner

from saec.cli.app import app
from saec.errors import BrokerUnavailableError, ConfigurationError
from saec.kafka import clients
from saec.kafka.transaction import TransactionalProducer
from saec.settings import Settings
from tests.trust.secured import Secured, environment
from tests.trust.tokens import LIFETIME_S

AsRole = Callable[..., Settings]
TIMEOUT_S = 60.0


def by_function(
    secured: Secured, role: str, function: str = "tests.trust.tokens:token"
) -> dict[str, str]:
    return by_token(secured, role) | {"oauth_cb": function}


def by_token(secured: Secured, role: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.config": f"principal={secured.user(role)}",
        "ssl.ca.location": str(secured.certificates.ca),
    }


def by_the_client_itself(secured: Secured, role: str) -> dict[str, str]:
    return by_token(secured, role) | {"enable.sasl.oauthbearer.unsecure.jwt": "true"}


def by_sha_256(secured: Secured, role: str) -> dict[str, str]:
    user, password = secured.user(role), "pass, word"
    admin = AdminClient({"bootstrap.servers": secured.plain.bootstrap_servers})
    scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    asked = [UserScramCredentialUpsertion(user, scram, password.encode())]
    for made in admin.alter_user_scram_credentials(asked, request_timeout=TIMEOUT_S).values():
        made.result(TIMEOUT_S)
    return {
        **secured.kafka(role),
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.password": password,
    }


WAYS = {
    "password": lambda secured, role: secured.kafka(role),
    "password, SHA-256": by_sha_256,
    "token by the client itself": by_the_client_itself,
    "token by a function": by_function,
}


@pytest.mark.parametrize("way", WAYS)
def test_each_client_logs_in(secured: Secured, as_role: AsRole, way: str) -> None:
    settings = as_role("requests").model_copy(update={"kafka": WAYS[way](secured, "requests")})
    producer = TransactionalProducer(settings, "requests")
    producer.begin()
    producer.produce(settings.topics.status, b"x", b"1", ())
    producer.commit()
    producer.discard()
    consumer = clients.consumer(settings, settings.group_id("requests"))
    assert settings.topics.requests in consumer.list_topics(timeout=TIMEOUT_S).topics
    consumer.close()
    assert settings.topics.status in clients.admin(settings).list_topics(timeout=TIMEOUT_S).topics


def test_a_new_token_is_got_before_the_old_one_expires(secured: Secured, as_role: AsRole) -> None:
    """A producer that is left alone for longer than a token lives has a new one when it goes on."""
    calls, asked = [0], threading.Event()

    def counted(config: str) -> tuple[str, float]:
        from tests.trust.tokens import token  # noqa: PLC0415

        calls[0] += 1
        if calls[0] > 2:
            asked.set()
        return token(config)

    module = sys.modules[__name__]
    module.counted = counted  # type: ignore[attr-defined]
    kafka = by_function(secured, "requests", f"{__name__}:counted")
    settings = as_role("requests").model_copy(update={"kafka": kafka})
    producer = TransactionalProducer(settings, "requests")
    assert asked.wait(TIMEOUT_S + LIFETIME_S)  # nobody polls it meanwhile
    producer.begin()
    producer.produce(settings.topics.status, b"x", b"1", ())
    producer.commit()
    producer.discard()


def test_the_doctor_logs_in_with_a_token(secured: Secured, as_role: AsRole) -> None:
    kafka = by_function(secured, "auditor")
    settings = as_role("auditor", "reader").model_copy(update={"kafka": kafka})
    said = CliRunner().invoke(app, ["doctor", "--wait", "0"], env=environment(settings))
    assert "answers, and shows" in said.output


def test_a_function_that_gets_no_token_is_an_outage_not_a_mistake(
    secured: Secured, as_role: AsRole
) -> None:
    """The token server may be away: a process waits and tries again."""
    kafka = by_function(secured, "requests", "tests.trust.tokens:failing")
    settings = as_role("requests").model_copy(update={"kafka": kafka})
    with structlog.testing.capture_logs() as lines, pytest.raises(BrokerUnavailableError) as e:
        clients.admin(settings)
    assert "no token came" in str(e.value)
    said = {"event": "no token came", "kind": "OSError", "log_level": "warning"}
    assert said in lines
    assert "s3cret" not in f"{lines} {e.value}"


def test_what_the_client_cannot_do_is_said_at_once(as_role: AsRole) -> None:
    kafka = {"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"}
    with pytest.raises(ConfigurationError, match="without Kerberos"):
        clients.admin(as_role("requests").model_copy(update={"kafka": kafka}))
