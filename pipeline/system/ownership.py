"""Files that say whom we trust: nobody but their owner may change them."""

import os
import stat
from pathlib import Path

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def changeable(path: Path) -> str | None:
    """Return why somebody else could change what a file says, with what to type; None if nobody could.

    Root may, and its owner, who must be us or root; its folder counts, in which it could be replaced. Raise
    OSError if it is not there.
    """
    real = path.resolve()
    file, folder = real.stat(), real.parent.stat()
    for what, status in ((real, file), (real.parent, folder)):
        if status.st_uid not in (0, os.geteuid()):
            return f"{what} belongs to another user, who may change it; type: chown root {what}"
    if file.st_mode & _OTHERS:
        return f"others may write it; type: chmod go-w {real}"
    # In a folder such as /tmp others make files, but none in place of ours.
    if folder.st_mode & _OTHERS and not folder.st_mode & stat.S_ISVTX:
        return f"others may replace it; type: chmod go-w {real.parent}"
    return None
