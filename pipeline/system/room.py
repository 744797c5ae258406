"""Whether a folder takes a file: tried, for what a program says of a full disk is in its own words."""

import os
import tempfile
from pathlib import Path

# So much any work needs. Programs end with some kilobytes free, which they could not use.
PROBE_BYTES = 1024 * 1024


def lacking(folder: Path) -> OSError | None:
    """Return why a folder takes no file of PROBE_BYTES (ENOSPC, EDQUOT, EROFS, EACCES, ...), None if it does.

    Ask while what was written is still there.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            # Where the disk is another machine's, it says only now that it is full.
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None
