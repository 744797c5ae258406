"""Where everything lies on a machine that runs the pipeline by itself."""

from dataclasses import dataclass
from pathlib import Path

USER = "pipeline"
# Whatever else starts with these words in the folders of the system is not ours.
MARK = "# Written by bin/install from luigi.cfg, and overwritten by its next run: change luigi.cfg instead.\n"


@dataclass(frozen=True)
class Layout:
    """The places, below a folder that is `/` but for trials."""

    root: Path

    @property
    def opt(self) -> Path:
        """Return where the releases are. They belong to root."""
        return self.root / "opt/pipeline"

    @property
    def releases(self) -> Path:
        """Return where each release has a folder of its own."""
        return self.opt / "releases"

    @property
    def bin(self) -> Path:
        """Return the link to the release that counts: clocks and people go by it."""
        return self.opt / "bin"

    @property
    def clock(self) -> Path:
        """Return the file that remembers what is to start the jobs."""
        return self.opt / "clock"

    @property
    def etc(self) -> Path:
        """Return where the settings are, and the login to Vault. It belongs to the pipeline's user alone."""
        return self.root / "etc/pipeline"

    @property
    def settings(self) -> Path:
        """Return luigi.cfg."""
        return self.etc / "luigi.cfg"

    @property
    def state(self) -> Path:
        """Return the home of the pipeline's user, and all that the pipeline keeps."""
        return self.root / "var/lib/pipeline"

    @property
    def crontab(self) -> Path:
        """Return the file that cron reads."""
        return self.root / "etc/cron.d/pipeline"

    @property
    def units(self) -> Path:
        """Return where the units of systemd are that an administrator has made."""
        return self.root / "etc/systemd/system"
