"""`saec rebuild` as an operator runs it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from saec.cli.app import app
from saec.cli.errors import ExitCode
from tests.cli.conftest import environment
from tests.rebuild.kit import content, delete_up_to
from tests.recover.scene import Scene

NewDatabase = Callable[[], str]


def run(scene: Scene, url: str, *args: str) -> Result:
    """Run `saec rebuild ARGS` on an installation."""
    shown = {"COLUMNS": "160", "NO_COLOR": "1"}
    runner = CliRunner(env=shown | environment(scene.settings))
    return runner.invoke(app, ["rebuild", "--database", url, *args])


def told(result: Result) -> dict[str, Any]:
    """What it said as JSON."""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_it_says_what_it_would_do_and_does_it(scene: Scene, new_database: NewDatabase) -> None:
    scene.ask()
    scene.take_requests()
    scene.dispatch()
    url = new_database()
    foreseen = run(scene, url, "--dry-run", "--json")
    assert (foreseen.exit_code, told(foreseen)["requests"]) == (ExitCode.OK, 1)
    assert "Nothing was changed." in run(scene, url, "--dry-run").stdout
    done = run(scene, url)
    assert done.exit_code == ExitCode.OK
    assert f"{scene.settings.topics.ledger} is kept from its beginning." in done.stdout
    assert "run `saec recover`, and start the processes." in done.stdout
    assert content(url) == content(scene.settings.database_url)
    for said in (foreseen.output, done.output):
        assert not [word for word in ("ana", "example.com", "Olá", url) if word in said]
    refused = run(scene, url)
    assert refused.exit_code == ExitCode.UNAVAILABLE
    assert "the database is not empty" in refused.stderr


def test_what_may_have_left_is_told_and_decided(scene: Scene, new_database: NewDatabase) -> None:
    scene.ask()
    scene.take_requests()
    scene.dispatch()
    for shard in (0, 1):
        delete_up_to(scene.settings, scene.settings.topics.ledger, shard, -1)
    url = new_database()
    foreseen = run(scene, url, "--dry-run")
    assert foreseen.exit_code == ExitCode.REFUSED
    assert "At most 1 request, due from" in foreseen.stdout
    refused = run(scene, url)
    assert refused.exit_code == ExitCode.UNAVAILABLE
    instant = refused.stderr.partition("--presume-sent-before ")[2].split()[0]
    done = run(scene, url, "--presume-sent-before", instant, "--json")
    assert (done.exit_code, told(done)["presumed_sent"]) == (ExitCode.OK, 1)


@pytest.mark.parametrize("url", ["mysql://saec:secret@host/db", "postgresql://saec:se@cret@h:x/d"])
def test_what_is_no_url_is_refused_and_not_shown(scene: Scene, url: str) -> None:
    result = run(scene, url)
    assert result.exit_code == ExitCode.USAGE
    assert "--database is not like postgresql://user:password@host" in result.stderr
    assert "cret" not in result.stderr
    wrong = run(scene, "postgresql://h/d", "--presume-sent-before", "long ago")
    assert wrong.exit_code == ExitCode.USAGE
    away = run(scene, "postgresql://127.0.0.1:1/saec")
    assert away.exit_code == ExitCode.UNAVAILABLE
    assert "Check --database and that PostgreSQL runs." in away.stderr
    assert "SAEC_DATABASE_URL" not in away.stderr
