"""Whether somebody works on the installation: a recovery must be alone."""

from saec.kafka.survey import Survey
from saec.recover.errors import RecoverError
from saec.settings import Settings

_ROLES = ("requests", "customers", "dispatch")


def refuse_company(settings: Settings) -> None:
    """Refuse to go on while a group has members.

    Raises:
        RecoverError: says which, and what to do.
    """
    survey = Survey(settings)
    alive = {role: survey.group(role).members for role in _ROLES}
    running = [f"{count} of {role}" for role, count in alive.items() if count]
    if running:
        raise RecoverError(
            f"processes are running: {', '.join(running)}; stop them all and run it again "
            "(one that was killed counts for 6 s more)"
        )
