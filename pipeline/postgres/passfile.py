"""A password for one of PostgreSQL's programs, in a file without a name: it is in no environment."""

import contextlib
import os
from collections.abc import Iterator, Mapping

PASSWORD, FILE = "PGPASSWORD", "PGPASSFILE"


@contextlib.contextmanager
def unseen(environment: Mapping[str, str]) -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
    """Yield the environment without its password, and the descriptors that the program is to keep open.

    What stands in a program's environment is shown by `ps e`, and copied into what it starts and into core
    dumps. The file is in memory alone, and gone with the last who has it open.
    """
    rest = {name: value for name, value in environment.items() if name != PASSWORD}
    password = environment.get(PASSWORD)
    # A password file has one line for each password.
    if password is None or "\n" in password:
        yield dict(environment), ()
        return
    descriptor = os.memfd_create("password")
    try:
        # libpq takes no file that others may read.
        os.fchmod(descriptor, 0o600)
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        os.write(descriptor, f"*:*:*:*:{escaped}\n".encode())
        yield {**rest, FILE: f"/proc/self/fd/{descriptor}"}, (descriptor,)
    finally:
        os.close(descriptor)
