"""Settings and fixtures of the audit's tests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from tests.audit.history import History
    from tests.audit.judge import Judge
    from tests.audit.story import Story
    from tests.stack import Installations

# The machine of a test run may be busy; how long one example takes says nothing then.
hypothesis.settings.register_profile("audit", deadline=None)
hypothesis.settings.load_profile("audit")


@dataclass
class Told:
    """What happened once, as its teller and as its topics know it."""

    story: "Story"
    history: "History"


@pytest.fixture
def make_story(make_installation: Callable[..., Any]) -> Iterator[Callable[..., "Story"]]:
    """Makes installations to tell a story in: `make_story(shards=1)`."""
    from tests.audit.story import SETTINGS, Story  # noqa: PLC0415 - pure tests do without

    made: list[Story] = []

    def make(**settings: Any) -> Story:
        made.append(Story(make_installation(**(SETTINGS | settings))))
        return made[-1]

    yield make
    for story in made:
        story.engine.dispose()


@pytest.fixture(scope="package")
def told(installations: "Installations") -> Iterator[Told]:
    """The whole story, told once: to be copied, not changed."""
    from tests.audit.history import History  # noqa: PLC0415
    from tests.audit.story import SETTINGS, Story, everything  # noqa: PLC0415

    with installations.make(**SETTINGS) as settings:
        story = Story(settings)
        everything(story)
        story.take_requests()
        yield Told(story, History.read(settings))
        story.engine.dispose()


@pytest.fixture
def judge(tmp_path: Path) -> "Judge":
    """Audits histories; what it reads is kept below the test's own directory."""
    from tests.audit.judge import Judge  # noqa: PLC0415

    return Judge(tmp_path / "books")
