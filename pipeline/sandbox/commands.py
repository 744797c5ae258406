"""The commands of the demo: `pipeline` as a person would type it, in turn or several at once."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from pipeline.errors import StoppedError, common_kind
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters
from pipeline.sandbox.servers.server import addresses, plain_environment

POLL_SECONDS = 0.05
RELAY_SECONDS = 5.0
PROGRAM = Path(sys.executable).with_name("pipeline")

Command = Sequence[str]


class Commands:
    """What runs `pipeline` in one sandbox."""

    def __init__(self, home: Home, print_line: Callable[[str], object], program: Path = PROGRAM) -> None:
        """`print_line` shows what a command has written while something else was shown."""
        self._home = home
        self._print_line = print_line
        self._program = program

    def run(self, *arguments: str) -> None:
        """Run one command to its end. Raise as `beside` does."""
        with self.beside(arguments, shown=True) as wait:
            wait()

    def called(self, arguments: Command, settings_file: Path) -> int:
        """Run one command by other settings than the sandbox's own, and return its exit code."""
        with _Started(self._home, self._program, shown=True, settings_file=settings_file) as started:
            started.start([*arguments])
            return started.wait()[0]

    @contextlib.contextmanager
    def beside(
        self, *commands: Command, quiet: bool = False, shown: bool = False
    ) -> Iterator[Callable[[], None]]:
        """Start commands that go on beside what the block does; what it gets waits for them.

        What they write is shown when they were waited for, if they are not `quiet`; at once if it is to be
        `shown`. What goes wrong is always shown at once. The wait raises the kind of error that their exit
        codes tell if any of them failed, StoppedError on Ctrl-C or SIGTERM. Whatever ends the block ends them
        too.
        """
        with _Started(self._home, self._program, shown=shown) as started:
            logs = [started.start(one) for one in commands]

            def wait() -> None:
                ended = started.wait()
                for line in () if quiet else started.written():
                    self._print_line(line)
                wrong = [
                    f"'pipeline {' '.join(one)}' ended with {returncode}"
                    + (f"; Luigi's own lines are in {log}" if log else "")
                    for one, log, returncode in zip(commands, logs, ended, strict=True)
                    if returncode
                ]
                if wrong:
                    raise common_kind(code for code in ended if code)("\n".join(wrong))

            yield wait


class _Started:
    """Programs that were started; they are ended with the block."""

    def __init__(self, home: Home, program: Path, *, shown: bool, settings_file: Path | None = None) -> None:
        self._home = home
        # Told to stop as well if this process is killed, so that nothing works on that nobody knows of.
        setpriv = shutil.which("setpriv")
        self._line = [*([setpriv, "--pdeathsig", "TERM"] if setpriv else []), str(program)]
        path = f"{program.parent}:{clusters.BINARIES}:{plain_environment()['PATH']}"
        self._environment = {**plain_environment(), **addresses(home), "PATH": path}
        if settings_file is not None:
            self._environment["LUIGI_CONFIG_PATH"] = str(settings_file)
        self._outputs: list[IO[bytes]] = []
        self._shown = shown
        self._processes: list[subprocess.Popen[bytes]] = []
        self._relays: list[threading.Thread] = []

    def __enter__(self) -> "_Started":
        return self

    def __exit__(self, *_: object) -> None:
        self._terminate()
        for process in self._processes:
            process.wait()
        self._join()
        for output in self._outputs:
            output.close()

    def start(self, command: Command) -> Path | None:
        """Start one command, and return where it writes Luigi's lines, if it does."""
        log = self._home.logs / f"{command[1]}.log" if command[0] == "run" else None
        output = errors = None
        if not self._shown:
            output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the block
            self._outputs.append(output)
            # No terminal, on which each would draw its progress over the lines of the others.
            errors = subprocess.PIPE
        process = subprocess.Popen(
            [*self._line, *command, *(["--log-file", str(log)] if log else [])],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            # A session of its own: else the terminal would send it a second Ctrl-C while it tidies up.
            start_new_session=True,
        )
        self._processes.append(process)
        if process.stderr is not None:
            relay = threading.Thread(target=_relay, args=(process.stderr,), daemon=True)
            relay.start()
            self._relays.append(relay)
        return log

    def wait(self) -> list[int]:
        """Wait until all have ended. Ctrl-C, SIGTERM, a closed terminal reach each once, as SIGTERM."""
        asked = False

        def ask(_signal: int, _frame: FrameType | None) -> None:
            nonlocal asked
            asked = True

        previous = {
            number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            is_shown = False
            while any(process.poll() is None for process in self._processes):
                if asked and not is_shown:
                    self._terminate()
                    is_shown = True
                time.sleep(POLL_SECONDS)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        self._join()
        if asked:
            raise StoppedError("stopped")
        return [process.returncode for process in self._processes]

    def written(self) -> Iterator[str]:
        """Return the lines that they have written, one command after the other."""
        for output in self._outputs:
            output.seek(0, os.SEEK_SET)
            for line in output:
                yield line.decode(errors="replace").rstrip("\n")

    def _join(self) -> None:
        # What a command has left behind may have its end of the pipe open still.
        for relay in self._relays:
            relay.join(RELAY_SECONDS)

    def _terminate(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()


def _relay(errors: IO[bytes]) -> None:
    """Show what goes wrong, line by line."""
    with errors:
        for line in errors:
            sys.stderr.write(line.decode(errors="replace"))
            sys.stderr.flush()
