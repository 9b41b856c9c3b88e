"""What really happened gives no finding, and the counts that it should."""

from saec.audit import Tally
from saec.contracts.events import Channel
from tests.audit.conftest import Told
from tests.audit.judge import Judge
from tests.audit.story import Story, everything

# By channel: asked, dispatched, skipped, stopped and awaited of `everything`.
#          single avro campaign skips twice push expired intime pending stopped repeated midway first
ASKED = {
    Channel.EMAIL: 1 + 5 + 5 + 3 + 1 + 5 + 5 + 1 + 5 + 1,
    Channel.SMS: 1 + 5 + 3 + 5,
    Channel.WHATSAPP: 5,
    Channel.PUSH: 1 + 1 + 1 + 1 + 1 + 1,
}


def test_everything(told: Told, judge: Judge) -> None:
    judged = judge(told.story.settings)
    print(judged)
    assert judged.findings == ()


def test_a_copy_says_the_same(told: Told, judge: Judge) -> None:
    servers = told.story.settings.bootstrap_servers
    with told.history.copy().written(servers) as settings:
        copied = judge(settings)
    assert copied.findings == ()
    assert copied.report.total == judge(told.story.settings).report.total
