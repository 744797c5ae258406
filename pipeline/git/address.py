"""What the address of a repository says of the way to it, as git reads it."""

import re

from pipeline.errors import StepError, UnreachableError

HTTPS, SSH = "https", "ssh"
# git's older names are the same to it.
_SSH = (SSH, "git+ssh", "ssh+git")
_SCHEME = re.compile(r"([A-Za-z0-9][A-Za-z0-9+.-]*)://")
# git@host:path; a slash before the colon makes it a path of this machine, two colons a helper's name.
_LIKE_SCP = re.compile(r"(?:[^/:@]+@)?(?:\[[^]/]+\]|[^/:\[]+):(?!:)")


class LoginError(UnreachableError, StepError):
    """The login to a repository is none, or is not of the kind that its address needs: a person fixes it."""

    exit_code = 2
    retryable = False


def transport(url: str) -> str:
    """Return how a repository is reached: HTTPS, SSH, another scheme's name, or "" for a path.

    >>> [transport(url) for url in ("https://h/r", "ssh://git@h:22/r", "git@h:r.git", "[::1]:r", "file:///r")]
    ['https', 'ssh', 'ssh', 'ssh', 'file']
    >>> [transport(url) for url in ("/srv/a:b.git", "ext::sh", "HTTPS://h/r", "git+ssh://h/r")]
    ['', '', 'https', 'ssh']
    """
    if scheme := _SCHEME.match(url):
        name = scheme[1].lower()
        return SSH if name in _SSH else name
    return SSH if _LIKE_SCP.match(url) else ""
