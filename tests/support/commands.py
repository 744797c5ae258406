"""Commands as a person types them, each in a process of its own that has everything imported already.

Most of the time of a short command is importing, up to a second of it, and the tests type hundreds. One
process imports what commands are made of, and is forked for each: nothing else of theirs is spared. How
the installed program starts, and what it imports, is tested with it (test_words.py, test_folder.py).
What an interpreter reads as it starts it has read already (AT_THE_START), and its umask is that of the tests.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import impatient

PROGRAM = Path(sys.executable).with_name("pipeline")
# What is no part of a command: it runs elsewhere, or imports Luigi, which reads its settings then.
APART = (
    "pipeline.sandbox",
    "pipeline.ledger.migrations.versions",
    "pipeline.programs.inside",
    "pipeline.confine.inside",
)
# A command that is to have another one of these is started as a program. What it starts itself has them.
AT_THE_START = ("LANG", "LC_ALL", "LC_CTYPE", "PYTHONHASHSEED", "PYTHONIOENCODING", "PYTHONUTF8", "TZ")
_ENVIRONMENT = {name: os.environ.get(name) for name in AT_THE_START}
_HERE = Path(__file__).parents[2]


class ExpiredError(Exception):
    """A command went on for too long, and was killed."""


def run(
    arguments: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    seconds: float,
    folder: Path | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run `pipeline ARGUMENTS` to its end, with nothing on its standard input.

    It stands in `folder`, or in our own. Raise ExpiredError after so many seconds.
    """
    otherwise = [name for name in AT_THE_START if environment.get(name) not in (None, _ENVIRONMENT[name])]
    assert not otherwise, f"{otherwise}: a command has them only if it is started as a program"
    words = [str(one) for one in arguments]
    asked = {"arguments": words, "environment": dict(environment), "folder": str(folder or Path.cwd())}
    with (
        socket.socket(socket.AF_UNIX) as line,
        Path(os.devnull).open("rb") as nothing,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        line.connect(_server())
        line.settimeout(seconds)
        socket.send_fds(line, [b"."], [nothing.fileno(), out.fileno(), err.fileno()])
        line.sendall(json.dumps(asked).encode())
        line.shutdown(socket.SHUT_WR)
        with line.makefile("r") as answers:
            pid = int(answers.readline())
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise ExpiredError(f"not over within {seconds:g} s: {words}") from None
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(words, code, out.read().decode(), err.read().decode())


@functools.cache
def _server() -> str:
    """Start the process that is forked, once; return its socket."""
    folder = tempfile.mkdtemp(prefix="pipeline-commands-")
    # If we are killed, our end of this is closed, and it ends as well.
    theirs, _ours = os.pipe()
    code = f"import sys; sys.path.insert(0, {str(_HERE)!r}); from {__name__} import serve; serve({folder!r})"
    server = subprocess.Popen(
        [sys.executable, "-P", "-c", code], stdin=theirs, stdout=subprocess.PIPE, cwd="/", text=True
    )
    os.close(theirs)
    atexit.register(_end, server, folder, os.getpid())
    assert server.stdout is not None
    with server.stdout:
        assert server.stdout.readline() == "ready\n"
    return f"{folder}/socket"


def _end(server: "subprocess.Popen[str]", folder: str, started_by: int) -> None:
    # A process that was forked of us has nothing to end.
    if os.getpid() == started_by:
        server.kill()
        server.wait()
        shutil.rmtree(folder)


def serve(folder: str) -> None:
    """Import everything, then run a command for each who connects, until standard input is closed."""
    _import_all()
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/socket")
    listener.listen(16)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    # Nobody waits for those who wait for a command.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        line = listener.accept()[0]
        if os.fork():
            line.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _attend(line)
        os._exit(0)


def _attend(line: socket.socket) -> None:
    """Run one command, and say its process number at once and its exit code in the end."""
    _, descriptors, _, _ = socket.recv_fds(line, 1, 3)
    with line.makefile("r") as asking:
        asked = json.load(asking)
    pid = os.fork()
    if not pid:
        line.close()
        _become(asked, descriptors)
    line.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(asked: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Be the command. Does not return.

    It ends as every program does, but for taking apart what all have imported, which nobody would notice and
    takes longer than a short command.
    """
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = [str(PROGRAM), *asked["arguments"]]
    sys.path.remove(str(_HERE))
    if impatient.GIVE_UP in os.environ:
        impatient.shorten(importlib.import_module(impatient.MODULE))
    code = importlib.import_module("pipeline.cli").main()
    threading._shutdown()  # type: ignore[attr-defined] # waits for its threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _import_all() -> None:
    def failed(name: str) -> None:
        raise ImportError(name)

    for module in pkgutil.walk_packages(
        importlib.import_module("pipeline").__path__, "pipeline.", onerror=failed
    ):
        if not module.name.startswith(APART) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert "luigi" not in sys.modules, "it has read settings that are of nobody's"
