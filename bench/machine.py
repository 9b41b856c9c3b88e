"""Where a figure was taken: the machine, how busy it was, and the versions of everything."""

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import confluent_kafka
import psutil

from bench.child import ROOT
from bench.lab import Lab
from saec.embedded.lockfile import KAFKA_VERSION

_CPU_INFO = Path("/proc/cpuinfo")


def described(lab: Lab) -> dict[str, Any]:
    """As of now; `load_before` is the load average of the last minute."""
    return {
        "at": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "confluent_kafka": version("confluent-kafka"),
        "postgresql": lab.site("saec").rows("SHOW server_version")[0][0],
        "kafka": KAFKA_VERSION,
        "commit": _commit(),
    }


def _processor() -> str:
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()
