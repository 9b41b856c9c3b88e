"""Posts: one request a call, as many as so many connections make.

Invariant: a run counts only if the topic got every record that was answered for, and no more than
one of each connection that was not: wrk drops its connections at the end.
"""

from bench.http.counted import appended, held
from bench.http.endpoints import Running
from bench.http.wrk import loaded
from bench.meter import Meter
from bench.outcome import Run

FIGURES = ("p50_ms", "p99_ms", "cpu_us")


def post_run(endpoint: Running, connections: int, seconds: int, meter: Meter) -> Run:
    """One run. `cpu_us`: of the endpoint's process, a request.

    Raises:
        WrkError: there is no wrk, or something was not answered with 2xx.
    """
    before = appended(endpoint.site)
    load, weights = loaded(endpoint, connections, seconds, meter)
    records = appended(endpoint.site) - before
    seen = held(load.answered, records, load.seconds, on_their_way=connections)
    measured = {
        "p50_ms": load.p50_us / 1000,
        "p99_ms": load.p99_us / 1000,
        "cpu_us": round(weights[endpoint.process].cpu_s * 1e6 / load.answered, 1),
        "on their way at the end": records - load.answered,
    }
    return Run(seen.rate, seen, weights, measured)
