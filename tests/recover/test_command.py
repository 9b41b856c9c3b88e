"""`saec recover` as an operator runs it."""

import json
from typing import Any

from typer.testing import CliRunner, Result

from saec.cli.app import app
from saec.cli.errors import ExitCode
from tests.recover.scene import Scene


def run(scene: Scene, *args: str) -> Result:
    """Run `saec recover ARGS` on an installation."""
    settings = scene.settings
    environment = {
        "COLUMNS": "160",
        "NO_COLOR": "1",
        "SAEC_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "SAEC_DATABASE_URL": settings.database_url,
        "SAEC_TOPIC_PREFIX": settings.topic_prefix,
    }
    return CliRunner(env=environment).invoke(app, ["recover", *args])


def told(result: Result) -> dict[str, Any]:
    """What it said as JSON."""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_it_says_what_it_would_do_and_does_it(scene: Scene) -> None:
    assert "Nothing to recover" in run(scene, "--dry-run").stdout
    scene.back_up()
    scene.ask()
    scene.take_requests()
    scene.dispatch()
    scene.restore()
    foreseen = run(scene, "--dry-run", "--json")
    assert (foreseen.exit_code, told(foreseen)["requests"]) == (ExitCode.OK, 1)
    assert "would be stored again" in run(scene, "--dry-run").stdout
    done = run(scene)
    assert done.exit_code == ExitCode.OK
    assert "Done: start the processes." in done.stdout
    assert "Nothing to recover" in run(scene, "--dry-run").stdout


def test_a_shard_that_stays_halted_is_told(scene: Scene) -> None:
    scene.publish(scene.settings.topics.ledger, {"of": "a stranger"}, "x", 1)
    result = run(scene)
    assert result.exit_code == ExitCode.REFUSED
    assert "Shard 1 stays halted: offset 0 of the ledger is no record of SAEC's" in result.stdout


def test_it_refuses_while_a_process_runs(scene: Scene) -> None:
    worker = scene.worker()
    worker.run_once()
    while not worker.owned:
        worker.run_once()
    result = run(scene)
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "processes are running: 1 of dispatch; stop them all" in result.stderr
    scene.close(worker)


def test_another_kafka_is_explained_before_anything_is_changed(scene: Scene) -> None:
    assert "nothing to do" in run(scene, "--new-cluster").stdout
    scene.installed.execute("UPDATE installation SET ledger_topic_id = 'another'")
    assert run(scene).exit_code == ExitCode.UNAVAILABLE
    explained = run(scene, "--new-cluster")
    assert explained.exit_code == ExitCode.REFUSED
    assert "The ledger begins anew." in explained.stdout
    assert "Nothing was changed: add --yes." in explained.stdout
    assert told(run(scene, "--new-cluster", "--dry-run", "--yes", "--json"))["ledger"] is True
    assert run(scene, "--new-cluster", "--yes").exit_code == ExitCode.OK
    assert "nothing to do" in run(scene, "--new-cluster").stdout


def test_what_belongs_to_a_new_cluster_is_refused_elsewhere(scene: Scene) -> None:
    assert run(scene, "--yes").exit_code == ExitCode.USAGE
    assert run(scene, "--claimed", "sent").exit_code == ExitCode.USAGE
