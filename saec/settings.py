"""The settings of every SAEC process, and every name derived from them.

Owns: the `SAEC_*` environment variables; topic names, group ids and transactional ids.
Invariant: nothing is read at import; a name that belongs to an installation starts with its prefix.
"""

import re
import uuid
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from saec.contracts.events import Channel
from saec.errors import ConfigurationError

_SERVER = re.compile(
    r"([A-Za-z_]+://)?([^\s:/@\[\]]+|\[[^\s@\[\]]+\]):(?P<port>[0-9]{1,5})", re.ASCII
)


def _servers(value: str) -> str:
    """Every server with its port, which the client would guess, or wait for ever without one."""
    for server in value.split(","):
        found = _SERVER.fullmatch(server.strip())
        if found is not None and found[1]:
            raise PydanticCustomError(
                "servers",
                "leave the protocol before :// out, and give it as security.protocol in SAEC_KAFKA",
            )
        if found is None or not 0 < int(found["port"]) < 65_536:
            raise PydanticCustomError("servers", "not host:port, or several separated by commas")
    return value


_REQUESTER = re.compile(r"[a-zA-Z0-9._-]{1,60}", re.ASCII)


def _requesters(value: str) -> str:
    """Names that can end a topic, none of which looks like another one to Kafka."""
    names = [name.strip() for name in value.split(",")] if value.strip() else []
    alike = [name.replace(".", "_") for name in names]
    if not all(map(_REQUESTER.fullmatch, names)) or len(set(alike)) < len(names):
        raise PydanticCustomError(
            "requesters",
            "not different names of ASCII letters, digits, `.`, `_` and `-`, separated by commas",
        )
    return ",".join(names)


TopicPrefix = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]{1,150}$")]


class Settings(BaseSettings):
    """Settings of one installation; each is the environment variable SAEC_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="SAEC_", extra="ignore", frozen=True)

    bootstrap_servers: Annotated[str, AfterValidator(_servers)] = Field(
        "127.0.0.1:9092", description="Kafka brokers, `host:port`, separated by commas."
    )
    database_url: str = Field(
        "postgresql://saec:saec@127.0.0.1:5432/saec",
        description="PostgreSQL, as a URL.",
        repr=False,
    )
    topic_prefix: TopicPrefix = Field(
        "saec.", description="Starts every topic, group and transactional id."
    )
    instance: str | None = Field(
        None,
        description="A stable name of this process: it takes its shards back in 0.2 s after a "
        "crash, and hands them over only after 6 s when stopped. One process a name.",
    )
    kafka: dict[str, str] = Field(
        default_factory=dict,
        description='Any librdkafka property, as JSON: `{"security.protocol": "SASL_SSL"}`.',
        repr=False,
    )
    requesters: Annotated[str, AfterValidator(_requesters)] = Field(
        "",
        description="Requesters that have a topic of their own, `saec.requests.<requester>`, "
        "separated by commas; `consumers.requesters` forwards from there.",
    )
    shards: PositiveInt = Field(
        16, le=1024, description="Shards of dispatch, fixed by `saec init` at creation."
    )
    partitions: PositiveInt = Field(
        6, le=1024, description="Partitions of each other topic that `saec init` creates."
    )
    replication_factor: int = Field(
        -1, description="Replicas of each topic that `saec init` creates; -1: the broker's default."
    )
    requests_retention_days: PositiveInt = Field(
        760, description="How long saec.requests is kept: longer than the horizon."
    )
    customers_retention_days: PositiveInt = Field(
        30,
        description="How long saec.customers is kept: longer than consumers.customers ever stands "
        "still. It carries addresses; saec.registry keeps what is registered.",
    )
    erased_within_days: PositiveInt = Field(
        7, description="How soon saec.registry drops what was replaced or erased."
    )
    dispatch_retention_days: PositiveInt = Field(
        7, description="How long channel topics are kept: short, they carry addresses."
    )
    status_retention_days: PositiveInt = Field(
        30, description="How long saec.status and saec.rejected are kept."
    )
    ledger_retention_days: PositiveInt = Field(
        90, description="How long the ledger is kept: longer than the oldest backup to restore."
    )
    grace_s: int = Field(
        60, ge=0, description="How far before its append time a request may be due, in seconds."
    )
    horizon_days: PositiveInt = Field(730, description="How far ahead a request may be due.")
    max_request_bytes: PositiveInt = Field(
        1_000_000, description="Largest value accepted on saec.requests and saec.customers."
    )
    slice_recipients: PositiveInt = Field(
        500, le=5_000, description="Recipients a slice: what is claimed and cancelled as a unit."
    )
    ingest_batch_records: PositiveInt = Field(
        5_000, description="Most records an ingest batch takes."
    )
    ingest_wait_ms: PositiveInt = Field(
        100, description="Longest wait for more records of an ingest batch."
    )
    dispatch_batch_messages: PositiveInt = Field(
        10_000,
        le=10_000,
        description="About how many messages one transaction carries; fewer while it is slow.",
    )
    probe_interval_ms: PositiveInt = Field(
        50, description="How often an idle worker looks for due slices."
    )
    transaction_timeout_s: PositiveInt = Field(
        10, ge=2, le=60, description="Kafka aborts a transaction left open for this long."
    )
    clock_ahead_s: PositiveInt = Field(
        60,
        description="How far ahead of a worker's own clock PostgreSQL's may be, in seconds: beyond "
        "it the worker sends nothing until they agree.",
    )
    status_sent: bool = Field(
        False, description="Also answer SENT, once a slice, with the messages themselves."
    )
    http_host: str = Field(
        "127.0.0.1", description="Address that the HTTP endpoint listens on; `0.0.0.0`: on all."
    )
    http_port: int = Field(8090, ge=1, le=65_535, description="Port of the HTTP endpoint.")
    http_tls_cert: Path | None = Field(
        None, description="Certificate chain of the HTTP endpoint (PEM); with it, it speaks TLS."
    )
    http_tls_key: Path | None = Field(
        None, description="Private key of that certificate (PEM), if it is not in the same file."
    )
    http_rate: PositiveInt = Field(
        1_000,
        le=1_000_000,
        description="Requests a second that a key may make of one HTTP process, if the key has no "
        "rate of its own.",
    )
    http_connections: PositiveInt = Field(
        1_000, le=100_000, description="Connections that one HTTP process takes at a time."
    )
    runtime_dir: Path | None = Field(
        None,
        description="Where each process says how it is, in a directory `saec-<uid>` of its own; by "
        "default where temporary files are. `python -m saec.health` needs the same.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug, info, warning or error."
    )

    @cached_property
    def topics(self) -> "Topics":
        """The names of this installation's topics."""
        return Topics(self.topic_prefix)

    @property
    def requester_topics(self) -> dict[str, str]:
        """The topics that belong to one requester each: topic -> requester."""
        names = self.requesters.split(",") if self.requesters else []
        return {f"{self.topics.requests}.{name}": name for name in names}

    @property
    def all_topics(self) -> tuple[str, ...]:
        """Every topic of this installation, with those of its requesters."""
        return (*self.topics.all, *self.requester_topics)

    @property
    def most_copied_bytes(self) -> int:
        """Largest key, value and headers of a record that saec.rejected holds a copy of."""
        return 2 * self.max_request_bytes

    def group_id(self, role: str) -> str:
        """The consumer group of one kind of process: `saec.requests`, `saec.dispatch` …"""
        return f"{self.topic_prefix}{role}"

    def new_transactional_id(self, role: str) -> str:
        """A transactional id for one producer; never used by another one."""
        return self.transactional_id(role, f"{self.instance or 'anonymous'}.{uuid.uuid4().hex}")

    def transactional_id(self, role: str, name: str) -> str:
        """The transactional id of a producer that is to fence those of its name before it."""
        return f"{self.topic_prefix}{role}.{name}"


def load_settings() -> Settings:
    """The settings in the environment.

    Raises:
        ConfigurationError: names the variables that are wrong, never their values.
    """
    try:
        return Settings()
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False, include_input=False, include_context=False)
        raise ConfigurationError(
            "; ".join(f"{variable(str(error['loc'][0]))}: {error['msg']}" for error in errors)
        ) from None
    except SettingsError:
        raise ConfigurationError("SAEC_KAFKA is not a JSON object of texts") from None


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"SAEC_{name.upper()}"


class Topics:
    """The topics of one installation, by what they carry."""

    def __init__(self, prefix: str) -> None:
        self.requests = f"{prefix}requests"
        self.customers = f"{prefix}customers"
        self.registry = f"{prefix}registry"
        self.status = f"{prefix}status"
        self.rejected = f"{prefix}rejected"
        self.ledger = f"{prefix}ledger"
        self.dispatch = {channel: f"{prefix}dispatch.{channel.lower()}" for channel in Channel}
        # Not among `all`: no process needs it, and the first replay creates it.
        self.replays = f"{prefix}replays"

    @property
    def all(self) -> list[str]:
        """Every topic that the processes need, in the way of a request."""
        return [
            self.requests,
            self.customers,
            self.registry,
            *self.dispatch.values(),
            self.status,
            self.rejected,
            self.ledger,
        ]
