"""What the address of a repository says of the way to it, as git reads it."""

import re
from urllib.parse import unquote, urlsplit

from pipeline.errors import StepError, UnreachableError

HTTPS, SSH = "https", "ssh"
# git's older names are the same to it.
_SSH = (SSH, "git+ssh", "ssh+git")
_SCHEME = re.compile(r"([A-Za-z0-9][A-Za-z0-9+.-]*)://")
# git@host:path; a slash before the colon makes it a path of this machine, two colons a helper's name.
_LIKE_SCP = re.compile(
    r"(?:(?P<user>[^/:@]+)@)?(?:\[(?P<inner>[^]/]+)\]|(?P<host>[^/:\[]+)):(?!:)(?P<path>.*)", re.DOTALL
)
SSH_PORT = 22


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


def ssh_place(url: str) -> tuple[str, str, int, str]:
    """Return user, host, port and path of a repository that is reached by ssh, as git reads them.

    >>> ssh_place("ssh://git@h:2222/srv/r.git"), ssh_place("git@h:r.git")
    (('git', 'h', 2222, '/srv/r.git'), ('git', 'h', 22, 'r.git'))
    >>> ssh_place("[::1]:r"), ssh_place("[h:2222]:r"), ssh_place("ssh://[::1]/~a/r")
    (('', '::1', 22, 'r'), ('', 'h', 2222, 'r'), ('', '::1', 22, '~a/r'))
    """
    if _SCHEME.match(url):
        parts = urlsplit(url)
        path = unquote(parts.path)
        user, host = unquote(parts.username or ""), parts.hostname or ""
        return user, host, parts.port or SSH_PORT, path[1:] if path.startswith("/~") else path
    match = _LIKE_SCP.match(url)
    if match is None:
        raise ValueError(url)
    host, _, port = (match["inner"] or match["host"]).partition(":")
    if ":" in port:
        host, port = match["inner"], ""
    return match["user"] or "", host, int(port) if port.isdecimal() else SSH_PORT, match["path"]
