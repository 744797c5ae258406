"""The program pgBackRest: how it is asked, by its own configuration file and never with a credential."""

from pipeline.errors import StepError, UnreachableError
from pipeline.settings.sections import PgBackRestSettings
from pipeline.system import command

NAME = "pgbackrest"
# A repository may be an object store far away.
ASK_SECONDS = 60


def arguments(settings: PgBackRestSettings, stanza: str, *more: str) -> list[str]:
    """Return the command line that does something with a stanza and writes no log file of its own."""
    config = [f"--config={settings.config}"] if settings.config else []
    logs = ["--log-level-file=off", "--log-level-console=off", "--log-level-stderr=error"]
    return [NAME, *config, f"--stanza={stanza}", *logs, *more]


def ask(settings: PgBackRestSettings, stanza: str, *more: str) -> str:
    """Return what it answers. Raise StepError if it is not installed, UnreachableError if it fails.

    What stands in our own environment does not count: all of its options are in its file.
    """
    try:
        return command.run(
            arguments(settings, stanza, *more),
            environment=command.clean_environment({}),
            timeout_seconds=ASK_SECONDS,
            # As of a file of its own that it cannot read.
            complains_on_output=True,
        )
    except StepError as error:
        if error.fact.endswith("not found"):
            raise StepError(
                "pgbackrest: not found on the PATH",
                hint="install pgBackRest, at least the version that makes the backups",
                retryable=False,
            ) from None
        raise UnreachableError(
            f"pgBackRest, stanza {stanza}: {error.fact}",
            hint="check that [pgbackrest] config names its file, and that this user may read it and the "
            "repository",
        ) from None
