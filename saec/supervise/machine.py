"""SAEC whole on this machine: the embedded stack, an installation on it, the three processes.

Invariant: they are stopped in the reverse order, however the block ends.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from saec import installation
from saec.clock import SystemClock
from saec.embedded import Addresses, EmbeddedStack
from saec.settings import Settings
from saec.supervise.supervisor import Supervisor, Tell, checkout


@dataclass(frozen=True, slots=True)
class Machine:
    """What runs: how to reach it, and its processes."""

    settings: Settings
    processes: Supervisor


@contextmanager
def running(
    settings: Settings, environment: Mapping[str, str], data_dir: Path, tell: Tell
) -> Iterator[Machine]:
    """Start everything with its data below `data_dir`, stop it at the end of the block.

    The addresses in `settings` and in `environment`, what the processes get, are replaced.
    """
    checkout()
    with ExitStack() as stack:
        addresses = addresses_of(stack.enter_context(EmbeddedStack(data_dir)))
        here = settings.model_copy(update=addresses)
        installation.init(here)
        variables = {**environment, **{f"SAEC_{k.upper()}": v for k, v in addresses.items()}}
        processes = Supervisor(variables, data_dir / "logs", SystemClock(), tell)
        stack.callback(processes.stop)
        processes.start()
        yield Machine(here, processes)


def addresses_of(addresses: Addresses) -> dict[str, str]:
    """The settings that lead to an embedded stack."""
    return {
        "bootstrap_servers": addresses.bootstrap_servers,
        "database_url": addresses.database_url,
    }
