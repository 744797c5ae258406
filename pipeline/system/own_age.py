"""How long this process is there."""

import os
import time
from pathlib import Path

# Where in /proc/PID/stat, after the program's name, stands when the process was started.
STARTED = 19


def own_age_seconds() -> float:
    """Return how long ago this process was started, its imports and all; as often as it is asked."""
    after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(after_name[STARTED]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
