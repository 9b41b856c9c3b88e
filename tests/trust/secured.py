"""A broker with TLS, SCRAM and the authorizer on, and who is who on it.

Owns the certificates, made for the run, and the principals with exactly the rules that `saec acls`
prints. Invariant: the super user is reached only over the plain listener, which nobody under test
uses.
"""

import json
import random
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from saec.kafka.acls import Rule, rules
from saec.settings import Settings

CALL_TIMEOUT_S = 60.0
_RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}
_OPERATIONS = {
    "Create": AclOperation.CREATE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
}


@dataclass
class Certificates:
    """A certificate authority of the run, and what it issued, as PEM files."""

    directory: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.authority.cert_pem.write_to_path(self.ca)

    @property
    def ca(self) -> Path:
        """What everybody trusts."""
        return self.directory / "ca.pem"

    def server(self, name: str) -> Path:
        """Key and certificate of what listens on this machine, in one file as Kafka reads them."""
        issued = self.authority.issue_cert("127.0.0.1", "localhost")
        return self._write(f"{name}.pem", issued)

    def client(self, name: str) -> Path:
        """Key and certificate of a client of this name."""
        return self._write(
            f"{name}.pem", self.authority.issue_cert("client.test", common_name=name)
        )

    def _write(self, name: str, issued: trustme.LeafCert) -> Path:
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        path = self.directory / name
        path.write_bytes(plain + chain)
        return path


def broker_properties(certificates: Certificates, sasl_port: int, tls_port: int) -> dict[str, str]:
    """Two listeners with TLS, one with passwords or tokens and one with certificates; ACLs on."""
    outside = {"SASL_SSL": sasl_port, "SSL": tls_port}
    offered = ",".join(f"{name}://{{host}}:{port}" for name, port in outside.items())
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    return {
        "listeners": "PLAINTEXT://{host}:{broker_port},CONTROLLER://{host}:{controller_port},"
        + offered,
        "advertised.listeners": "PLAINTEXT://{host}:{broker_port}," + offered,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
        "SASL_SSL:SASL_SSL,SSL:SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates.server("broker")),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates.ca),
        "listener.name.ssl.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": r"RULE:^.*?CN=([^,]+).*$/$1/",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,OAUTHBEARER",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": login,
        "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": login,
        # Kafka's own validator of tokens without a signature: good for tests alone.
        "listener.name.sasl_ssl.oauthbearer.sasl.jaas.config": "org.apache.kafka.common.security"
        '.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }


def free_ports() -> tuple[int, int]:
    """Two ports that are free now, and that nobody is given who asks for any."""
    found = set()
    while len(found) < 2:
        port = random.randint(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.add(port)
    one, other = found
    return one, other


@dataclass
class Secured:
    """The installation under test: where it is, and who has which password."""

    plain: Settings
    certificates: Certificates
    sasl_port: int
    tls_port: int
    passwords: dict[str, str] = field(default_factory=dict)

    def allow(self) -> None:
        """Make every principal, with a password, and exactly the rules that `saec acls` prints.

        Those that were made before keep theirs.
        """
        admin = AdminClient({"bootstrap.servers": self.plain.bootstrap_servers})
        needed = rules(self.plain)
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        roles = {rule.role for rule in needed} - self.passwords.keys()
        made_now = {role: secrets.token_urlsafe(16) for role in roles}
        self.passwords |= made_now
        users = [
            UserScramCredentialUpsertion(self.user(role), scram, password.encode())
            for role, password in made_now.items()
        ]
        made = admin.alter_user_scram_credentials(users, request_timeout=CALL_TIMEOUT_S)
        for future in (*made.values(), *admin.create_acls(_bindings(needed)).values()):
            future.result(CALL_TIMEOUT_S)

    def user(self, role: str) -> str:
        """The name that a role logs in with."""
        return f"{self.plain.topic_prefix}{role}"

    def kafka(self, role: str, password: str | None = None) -> dict[str, str]:
        """What goes into SAEC_KAFKA, to be `role`."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": self.user(role),
            "sasl.password": password or self.passwords[role],
            "ssl.ca.location": str(self.certificates.ca),
        }

    def by_certificate(self, role: str) -> dict[str, str]:
        """The same with a certificate in place of a password."""
        client = str(self.certificates.client(self.user(role)))
        return {
            "security.protocol": "SSL",
            "ssl.certificate.location": client,
            "ssl.key.location": client,
            "ssl.ca.location": str(self.certificates.ca),
        }

    def settings(self, role: str, database_url: str | None = None) -> Settings:
        """The settings of a process or a partner."""
        return self.plain.model_copy(
            update={
                "bootstrap_servers": f"127.0.0.1:{self.sasl_port}",
                "kafka": self.kafka(role),
                "database_url": database_url or self.plain.database_url,
            }
        )


def environment(settings: Settings) -> dict[str, str]:
    """The variables that lead there."""
    return {
        "SAEC_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "SAEC_DATABASE_URL": settings.database_url,
        "SAEC_TOPIC_PREFIX": settings.topic_prefix,
        "SAEC_KAFKA": json.dumps(settings.kafka),
        "SAEC_SHARDS": str(settings.shards),
        "SAEC_PARTITIONS": str(settings.partitions),
        "SAEC_REQUESTERS": settings.requesters,
    }


def _bindings(needed: list[Rule]) -> list[AclBinding]:
    return [
        AclBinding(
            _RESOURCES[rule.resource],
            rule.name,
            ResourcePatternType.PREFIXED if rule.prefixed else ResourcePatternType.LITERAL,
            rule.principal,
            "*",
            _OPERATIONS[operation],
            AclPermissionType.ALLOW,
        )
        for rule in needed
        for operation in rule.operations
    ]
