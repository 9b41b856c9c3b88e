"""SAEC whole on this machine: the embedded stack, an installation on it, its processes.

Invariant: they are stopped in the reverse order, however the block ends.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from saec import installation
from saec.clock import SystemClock
from saec.embedded import Addresses, EmbeddedStack
from saec.http.address import url_here
from saec.settings import Settings, variable
from saec.supervise import endpoint
from saec.supervise.supervisor import FORWARDER, MODULES, Supervisor, Tell, checkout


@dataclass(frozen=True, slots=True)
class Machine:
    """What runs: how to reach it, and its processes. `http_url` is None without the endpoint."""

    settings: Settings
    processes: Supervisor
    http_url: str | None = None


@contextmanager
def running(
    settings: Settings, environment: Mapping[str, str], data_dir: Path, tell: Tell
) -> Iterator[Machine]:
    """Start everything with its data below `data_dir`, stop it at the end of the block.

    The addresses in `settings` and in `environment`, what the processes get, are replaced; that
    of the HTTP endpoint where its port is taken, or 0.
    """
    checkout()
    with ExitStack() as stack:
        addresses = _addresses(settings, stack.enter_context(EmbeddedStack(data_dir)))
        here = settings.model_copy(update=addresses)
        installation.init(here)
        variables = {**environment, **{variable(k): str(v) for k, v in addresses.items()}}
        modules = _modules(here, tell)
        processes = Supervisor(variables, data_dir / "logs", SystemClock(), tell, modules)
        stack.callback(processes.stop)
        processes.start()
        yield Machine(here, processes, url_here(here) if endpoint.MODULE in modules else None)


def _addresses(settings: Settings, parts: Addresses) -> dict[str, str | int]:
    """The settings that lead to an embedded stack, and to the endpoint on it."""
    return {
        "bootstrap_servers": parts.bootstrap_servers,
        "database_url": parts.database_url,
        "http_port": endpoint.free_port(settings.http_host, settings.http_port),
    }


def _modules(settings: Settings, tell: Tell) -> list[str]:
    """Those that can run and have something to do."""
    wanted = [*MODULES, *([FORWARDER] if settings.requesters else [])]
    if endpoint.is_installed():
        return wanted
    tell(endpoint.IS_MISSING)
    return [module for module in wanted if module != endpoint.MODULE]
