"""Which analysts' repository is meant where none is named."""

from pathlib import Path

from pipeline import settings
from pipeline.errors import UsageError

# As the commands say it.
DEFAULT = "the current folder, or the checkout of the settings where that is no such repository"


def repository() -> Path:
    """Return the analysts' repository that is meant where none is named."""
    here = Path()
    if (here / "sources").is_dir():
        return here
    try:
        return settings.read().require_analysts().checkout
    except UsageError:
        # Nothing but the package is on an analyst's laptop: what is missing is told of this folder.
        return here
