"""Whether a process is at work, asked from the same machine: `python -m saec.kafka.liveness ROLE`.

Meant as the health check of a container that runs one process. Invariant: healthy means that the
broker counts a member of the role's group at this machine's address as alive, so a process that
hangs, or was told to leave, is not.
"""

import argparse
import socket
import sys

from confluent_kafka import KafkaException

from saec.kafka import clients
from saec.settings import Settings

TIMEOUT_S = 5.0
ROLES = ("requests", "customers", "dispatch", "requesters")


def is_alive(settings: Settings, role: str) -> bool:
    """True when the role's group has a live member at this machine's address."""
    group = settings.group_id(role)
    admin = clients.admin(settings)  # kept till it has answered
    described = admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group]
    try:
        members = described.result(TIMEOUT_S).members
    except (KafkaException, TimeoutError):
        return False
    address = _own_address(settings.bootstrap_servers)
    return any(member.host.strip("/") == address for member in members)


def _own_address(bootstrap_servers: str) -> str:
    """The address by which this machine reaches the first broker. Sends nothing."""
    host, _, port = bootstrap_servers.partition(",")[0].rpartition(":")
    family, kind, protocol, _, address = socket.getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_DGRAM
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


def main() -> None:
    """Exit code 0 when alive, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m saec.kafka.liveness", description=__doc__)
    parser.add_argument("role", choices=ROLES)
    role = parser.parse_args().role
    sys.exit(0 if is_alive(Settings(), role) else 1)


if __name__ == "__main__":
    main()
