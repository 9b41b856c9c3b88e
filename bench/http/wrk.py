"""wrk: a load of so many connections, each of which sends again when it is answered.

Invariant: what is measured is worth something only if every request was answered with 2xx.
"""

import json
import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.child import ROOT
from bench.http.bodies import template
from bench.http.endpoints import Running
from bench.meter import Meter, Weight

MISSING = "wrk makes the load, and is not here: apt-get install wrk"
_SCRIPT = Path(__file__).with_name("post.lua")
_LONGEST_S = 10  # until wrk counts a request as broken
_END_S = 60.0


class WrkError(RuntimeError):
    """wrk is not here, or what it counted is worth nothing."""


@dataclass(frozen=True)
class Load:
    """What wrk counted: answers in all, of them those above 399, and requests that broke."""

    answered: int
    us: int
    p50_us: int
    p99_us: int
    max_us: int
    refused: int
    broken: int

    @classmethod
    def of(cls, output: str) -> "Load":
        """From what wrk and its script wrote: the last line is the script's.

        Raises:
            WrkError: it is not, or something was not answered with 2xx.
        """
        try:
            load = cls(**json.loads(output.splitlines()[-1]))
        except (IndexError, TypeError, ValueError):
            raise WrkError(f"wrk said: {output}") from None
        if load.refused or load.broken or not load.answered:
            raise WrkError(f"not every request was answered with 2xx: {load}")
        return load

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.us / 1e6


def is_here() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def loaded(
    endpoint: Running, connections: int, seconds: int, meter: Meter
) -> tuple[Load, dict[str, Weight]]:
    """Load the endpoint; what wrk counted, and what everybody took meanwhile.

    Raises:
        WrkError: there is no wrk, it failed, or something was not answered with 2xx.
    """
    if not is_here():
        raise WrkError(MISSING)
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={_LONGEST_S}s"]
    given = {"SEED": str(random.SystemRandom().getrandbits(31)), "BODY": template()}
    given |= {"KEY": endpoint.key} if endpoint.key else {}
    meter.restart()
    with subprocess.Popen(
        ["wrk", *options, "-s", str(_SCRIPT), endpoint.url],
        cwd=ROOT,
        env=os.environ | given,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        meter.watch("wrk", process.pid)
        output = process.stdout.read() if process.stdout else ""
        weights = meter.weights()  # before anybody waits for it: then it is gone
        process.wait(_END_S)
    return Load.of(output), weights
