"""Two brokers of any Kafka release: the second one's partitions have no leader when it is killed.

Owns the processes and their directory. Invariant: what keeps transactions and groups stands on the
first broker, which is also the controller and is never killed.
"""

import os
import signal
import subprocess
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from faults.parts import wait_until
from saec.embedded.kafka import HOST, PROPERTIES, START_TIMEOUT_S, _free_ports, _java, _Metadata
from saec.embedded.process import Part, plain_environment
from saec.kafka.topics import TopicSpec

_TIMEOUT_S = 30.0
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>saec</groupId><artifactId>faults</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
<version>{version}</version></dependency><dependency><groupId>org.slf4j</groupId>
<artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency></dependencies></project>
"""
# A broker that was killed is noticed soon.
_EXTRA = """\
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
controlled.shutdown.enable=false
"""
_SECOND = """\
process.roles=broker
node.id=2
listeners=PLAINTEXT://{host}:{broker_port}
"""


def jars_of(version: str, directory: Path) -> list[Path]:
    """The jars of a release, by Maven, kept in `directory`."""
    jars = directory / version
    if not (jars / "complete").exists():
        jars.mkdir(parents=True, exist_ok=True)
        (jars / "pom.xml").write_text(_POM.format(version=version))
        copy = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        subprocess.run(copy, cwd=jars, check=True)
        (jars / "complete").touch()
    return sorted(jars.glob("*.jar"))


class Pair:
    """Both brokers. `lose_second` kills the second one and waits until its leaders are missed."""

    def __init__(self, directory: Path, jars: list[Path]) -> None:
        self._jars = jars
        self._directory = directory
        ports = [_free_ports((0, 0)) for _ in range(2)]
        (self._port, self._controller), (self._second_port, _) = ports
        self.bootstrap_servers = f"{HOST}:{self._port}"
        first = PROPERTIES + _EXTRA
        second = "\n".join(
            line
            for line in (PROPERTIES + _EXTRA).splitlines()
            if not line.startswith(("process.roles", "node.id", "listeners"))
        )
        self._parts = {
            1: self._format(1, first, self._port),
            2: self._format(2, second + "\n" + _SECOND, self._second_port),
        }

    def start(self) -> None:
        """The first alone makes what Kafka keeps transactions and groups in; then the second."""
        self._start(1, self._port)
        self._make_internal_topics()
        self.start_second()

    def start_second(self) -> None:
        """Start the second broker, with the data it has, and wait until all sees it."""
        self._start(2, self._second_port)
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        wait_until(lambda: len(admin.list_topics(timeout=_TIMEOUT_S).brokers) == 2)

    def create(self, specs: Iterable[TopicSpec], on_second: str) -> None:
        """Create topics without replicas, one of them on the second broker."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        asked = [
            NewTopic(
                spec.name,
                spec.partitions,
                config=spec.config,
                replica_assignment=[[2 if spec.name == on_second else 1]] * spec.partitions,
            )
            for spec in specs
        ]
        for made in admin.create_topics(asked).values():
            made.result(_TIMEOUT_S)

    def lose_second(self, topic: str) -> None:
        """SIGKILL it; returns when the partitions of `topic` have no leader."""
        with suppress(ProcessLookupError):
            os.kill(self._parts[2].pid, signal.SIGKILL)
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

        def leaderless() -> bool:
            found = admin.list_topics(topic, timeout=_TIMEOUT_S).topics[topic].partitions
            return bool(found) and all(state.leader < 0 for state in found.values())

        wait_until(leaderless)

    def stop(self) -> None:
        """Stop both."""
        for part in self._parts.values():
            part.stop(signal.SIGKILL, _TIMEOUT_S)

    def _format(self, node: int, properties: str, port: int) -> Part:
        directory = self._directory / f"kafka-{node}"
        directory.mkdir(parents=True)
        config = directory / "server.properties"
        text = properties.format(
            host=HOST, broker_port=port, controller_port=self._controller, data=directory / "data"
        )
        config.write_text(text)
        if node == 1:
            self._cluster_id = urlsafe_b64encode(uuid4().bytes).rstrip(b"=").decode()
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={self._cluster_id}"]
        command = [*_java(self._jars, "-Xmx128m"), *tool, "--config", config]
        subprocess.run(command, check=True, capture_output=True, env=plain_environment())
        return Part("kafka", directory, mark=str(config))

    def _start(self, node: int, port: int) -> None:
        part = self._parts[node]
        config = self._directory / f"kafka-{node}" / "server.properties"
        part.start([*_java(self._jars, "-Xmx384m"), "kafka.Kafka", config])
        part.wait_until(
            _Metadata(f"{HOST}:{port}"), threading.Event(), START_TIMEOUT_S, pause_s=0.05
        )

    def _make_internal_topics(self) -> None:
        servers = {"bootstrap.servers": self.bootstrap_servers}
        Producer({**servers, "transactional.id": "first"}).init_transactions(_TIMEOUT_S)
        consumer = Consumer({**servers, "group.id": "first"})
        consumer.subscribe(["__transaction_state"])
        wait_until(lambda: consumer.poll(0.1) is None and bool(consumer.memberid()))
        consumer.close()
