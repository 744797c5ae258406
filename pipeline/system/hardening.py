"""What each process of ours takes from itself as it begins, and so from all that it starts."""

import os
import resource
import stat

# One byte, and not 0: by that the kernel makes no core at all, also where it hands them to a program. With 0
# such a program is given the whole of it.
CORE_BYTES = 1


def harden() -> None:
    """Let others write to nothing that this process makes, and leave no image of its memory if it crashes.

    What is private says so itself; but folders above it, and what is for others to read, go by the umask of
    whoever started us. In memory are credentials, and rows.
    """
    os.umask(os.umask(0o077) | stat.S_IWGRP | stat.S_IWOTH)
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    bound = min(CORE_BYTES, most) if most != resource.RLIM_INFINITY else CORE_BYTES
    resource.setrlimit(resource.RLIMIT_CORE, (bound, bound))
