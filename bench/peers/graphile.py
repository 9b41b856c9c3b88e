"""graphile-worker, with a task that produces and awaits delivery: `bench/peers/graphile/worker.js`.

Its defaults, but for 100 jobs at a time instead of one, and a look every 50 ms instead of 2 s.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psycopg2

from bench.peers.peer import Peer, Place
from bench.workload import BODY, Singles

_SOURCE = Path(__file__).with_suffix("")
_CHUNK = 5_000
_NPM_TIMEOUT_S = 300
_ADD = """
    SELECT count(*) FROM graphile_worker.add_jobs(ARRAY(
        SELECT ROW('send', json_build_object('id', id, 'body', %(body)s), NULL,
                   to_timestamp(due_ms / 1000.0), NULL, NULL, NULL, NULL
               )::graphile_worker.job_spec
        FROM unnest(%(ids)s::text[], %(dues_ms)s::bigint[]) due(id, due_ms)))
"""


def prepare(place: Place) -> None:
    """What it needs of npm, and its tables."""
    shutil.copytree(_SOURCE, place.directory, dirs_exist_ok=True)
    _run(place, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    cli = place.directory / "node_modules/graphile-worker/dist/cli.js"
    _run(place, "node", str(cli), "--schema-only", "-c", place.database_url)


def store(place: Place, asked: Singles) -> None:
    """One job each, by its own SQL function."""
    due = list(asked.expected().items())
    connection = psycopg2.connect(place.database_url, connect_timeout=10)
    with connection, connection.cursor() as cursor:
        for start in range(0, len(due), _CHUNK):
            chunk = due[start : start + _CHUNK]
            ids, dues_ms = [id_.decode() for id_, _ in chunk], [due_ms for _, due_ms in chunk]
            cursor.execute(_ADD, {"body": BODY, "ids": ids, "dues_ms": dues_ms})
    connection.close()


def command(place: Place) -> Sequence[str]:
    """The worker."""
    script = str(place.directory / "worker.js")
    return ["node", script, place.database_url, place.bootstrap_servers, place.topic]


def _run(place: Place, *what: str) -> None:
    subprocess.run(
        what, cwd=place.directory, check=True, capture_output=True, timeout=_NPM_TIMEOUT_S
    )


PEER = Peer("graphile-worker", "at least once", prepare, store, command)
