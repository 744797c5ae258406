"""`python -m pipeline.sandbox.b2 --home DIR --port N` runs the emulator until it is told to stop."""

import argparse
import os
import secrets
import signal
import sys
import threading
from pathlib import Path

from pipeline.sandbox.b2.calls import MINIMUM_PART_SIZE_BYTES, Emulator
from pipeline.sandbox.b2.control import CONTROL_FILE, announce
from pipeline.sandbox.b2.http.server import Server

CANNOT_START = 5


def main() -> int:
    """Serve. `--port 0` takes a free one; `control.json` in the home says which, once it answers."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.sandbox.b2", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the folder of its data")
    parser.add_argument("--port", type=int, required=True, help="the port on 127.0.0.1")
    parser.add_argument(
        "--part-size",
        type=int,
        default=MINIMUM_PART_SIZE_BYTES,
        help="the smallest part of a large file, in bytes (default: B2's own)",
    )
    arguments = parser.parse_args()
    os.umask(0o077)
    emulator = Emulator(arguments.home, part_size_bytes=arguments.part_size)
    token = secrets.token_urlsafe(32)
    try:
        server = Server(emulator, arguments.port, token)
    except OSError as error:
        sys.stderr.write(f"B2 emulator: cannot listen on port {arguments.port}: {error.strerror}\n")
        return CANNOT_START
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for the loop below, so it must run beside it.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    announce(arguments.home, emulator.url, token)
    server.serve_forever(poll_interval=0.1)
    (arguments.home / CONTROL_FILE).unlink(missing_ok=True)
    server.server_close()
    with emulator.lock:
        emulator.storage.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
