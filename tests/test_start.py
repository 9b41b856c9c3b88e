"""A process whose settings are wrong ends at once, with one line that any machine can read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from saec.supervise.supervisor import MODULES

ROOT = Path(__file__).parents[1]
WRONG = {
    "SAEC_SHARDS": "s3cret",
    "SAEC_LOG_LEVEL": "s3cret",
    "SAEC_TOPIC_PREFIX": "s3cret/",
    "SAEC_BOOTSTRAP_SERVERS": "s3cret",
    "SAEC_KAFKA": '{"sasl.password": "s3cret",',
    "SAEC_HTTP_PORT": "s3cret",
    "SAEC_DATABASE_URL": "postgresql://saec:p@s3cret@db.example.com/saec",
}


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("variable", WRONG)
def test_wrong_settings_are_told_in_one_line_of_json(module: str, variable: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=os.environ | {variable: WRONG[variable]},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (3, b"")
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert (line["event"], line["level"]) == ("stopped", "error")
    assert line["role"] == module.rpartition(".")[2]
    assert variable in line["error"]
    assert b"s3cret" not in ended.stderr
