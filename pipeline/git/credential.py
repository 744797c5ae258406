"""Hands a token to git: `python -m pipeline.git.credential get`, run by git as its credential helper.

The token waits in a pipe that was inherited, so that it is in no file, argument or environment.
"""

import os
import sys

# The variable that holds the number of the pipe, and not what is in it.
PIPE = "PIPELINE_GIT_PIPE"
LONGEST_BYTES = 65_536
# What the services that have tokens expect where a person has a name.
USER = "x-access-token"


def main(arguments: list[str]) -> int:
    """Answer git's question for a login; what it wants stored or erased was never anywhere."""
    if arguments[:1] == ["get"] and PIPE in os.environ:
        token = os.read(int(os.environ[PIPE]), LONGEST_BYTES).decode()
        sys.stdout.write(f"username={USER}\npassword={token}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
