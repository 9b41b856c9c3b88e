"""Profile: a flame graph of a worker in the burst, by py-spy.

The worker runs below py-spy, which needs no rights then. It is no benchmark: at each sample the
worker is stopped for a moment.
"""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from bench import preload
from bench.at_once import topics, wait_for_all
from bench.child import ROOT
from bench.instants import check_ahead, now_ms, wait_until_ms
from bench.lab import Lab
from bench.part import Options
from bench.processes import ROLES, environment
from bench.reader import reading
from bench.say import say
from bench.site import Site
from bench.workload import Singles

WHAT = __doc__ or ""
EXAMPLE = "python -m bench profile --messages 50000 --output flame.svg"
_LEAD_S = 10.0
_STORED_PER_S = 12_000
_END_S = 60.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The sizes."""
    parser.add_argument("--messages", type=int, default=200_000, help="requests due at once")
    parser.add_argument("--customers", type=int, default=100_000, help="different customers")
    parser.add_argument("--rate", type=int, default=200, help="samples a second")
    parser.add_argument("--native", action="store_true", help="with what is not Python")
    parser.add_argument("--output", type=Path, default=Path(".bench/flame.svg"))


def run(lab: Lab, given: Options) -> bool:
    """One burst, watched."""
    site = lab.site("saec")
    preload.registry(site, given.customers)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    with reading(lab.bootstrap_servers, topics(site), lab.fresh("seen")) as reader:
        due_ms = now_ms() + round((_LEAD_S + given.messages / _STORED_PER_S) * 1000)
        preload.singles(site, Singles("profile", (due_ms,) * given.messages, given.customers))
        site.settle()
        check_ahead(due_ms)
        wait_until_ms(due_ms - round(_LEAD_S * 250))
        spy = _spy(site, given)
        try:
            wait_for_all(reader, given.messages)
        finally:
            _end(spy)
    say(f"the flame graph is in {given.output}")
    return True


def _spy(site: Site, given: Options) -> "subprocess.Popen[bytes]":
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--threads", "--rate"]
    command += [str(given.rate), "--output", str(given.output.absolute())]
    command += ["--native"] if given.native else []
    return subprocess.Popen(
        [*command, "--", sys.executable, "-m", ROLES["dispatch"]],
        cwd=ROOT,
        env=environment(site),
    )


def _end(spy: "subprocess.Popen[bytes]") -> None:
    """The worker is told to stop; py-spy writes its graph when it has."""
    for worker in psutil.Process(spy.pid).children():
        worker.send_signal(signal.SIGTERM)
    spy.wait(_END_S)
