"""What is started outside and ends inside: `python -m pipeline.confine.inside PLAN`.

Three processes. This one makes the namespaces; its child is the first process in them, sees to what is
mounted and ends them when its own child, the program, has ended. Whoever kills the first kills all.
Nothing but Python's own library is imported here, for each import is seen by what follows.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from pipeline.confine import copies, kernel
from pipeline.confine.limits import MIB, Limits, Plan

SIGNALLED = 128
# Of /etc, what names of hosts and users, certificates and times need.
ETC = (
    "passwd",
    "group",
    "hosts",
    "resolv.conf",
    "nsswitch.conf",
    "host.conf",
    "gai.conf",
    "services",
    "protocols",
    "localtime",
    "timezone",
    "ssl",
    "ca-certificates",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
)
SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", *(f"/etc/{name}" for name in ETC))
DEVICES = ("null", "zero", "full", "random", "urandom")
STREAMS = {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
SHARED_MEMORY_BYTES = 16 * MIB
# For what is copied, and the folders that all else is shown in.
ROOT_BYTES, ROOT_FILES = copies.MOST_BYTES + 8 * MIB, 20_000
BACKLOG = 16
MOST_BYTES = 1000
# The kernel takes this program first when there is no memory left.
FIRST_TO_GO = "1000"
POLITE = 10


def main(arguments: list[str]) -> int:
    """Run the program of a plan, and return its exit code."""
    kernel.die_with_parent()
    plan = _read(arguments[0])
    # The program that it is to become has no part in this.
    os.set_inheritable(plan.refused, False)
    try:
        _leave(plan)
    except OSError as error:
        _refuse(plan, error)
    first = os.fork()
    if first == 0:
        _as_first(plan)
    return _waited(first)


def _read(text: str) -> Plan:
    fields: dict[str, Any] = json.loads(text)
    return Plan(**{**fields, "limits": Limits(**fields["limits"])})


def _refuse(plan: Plan, error: BaseException) -> NoReturn:
    """Tell the outside why nothing can be confined here, and end.

    It goes by a pipe that is closed as the program begins: whatever a program does, it cannot say so.
    """
    why = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        why = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    os.write(plan.refused, why.encode(errors="replace")[:MOST_BYTES])
    os._exit(1)


def _leave(plan: Plan) -> None:
    """Leave our namespaces, and hand out the socket by which connections from inside come."""
    own = kernel.NEW_MOUNTS | kernel.NEW_PROCESSES | kernel.NEW_NETWORK | kernel.NEW_IPC | kernel.NEW_NAME
    if plan.user is None:
        kernel.own_users()
    kernel.unshare(own)
    if plan.control is not None:
        kernel.raise_loopback()
        with socket.socket(fileno=plan.control) as control, socket.create_server(("127.0.0.1", 0)) as server:
            server.listen(BACKLOG)
            socket.send_fds(control, [b"x"], [server.fileno()])


def _as_first(plan: Plan) -> NoReturn:
    """Be the first process inside: make it, start the program, and take the rest along with its end."""
    kernel.die_with_parent()
    kernel.be_opaque()
    try:
        _mount(plan)
        worker = os.fork()
    except BaseException as error:  # noqa: BLE001 - this is a child: nothing may go on behind it
        _refuse(plan, error)
    if worker == 0:
        _as_program(plan)
    for descriptor in (0, 1, 2, plan.refused):
        os.close(descriptor)
    os._exit(_waited(worker))


def _waited(child: int) -> int:
    """Wait for a child, let go of orphans meanwhile, and return the child's exit code."""
    while True:
        try:
            ended, status = os.wait()
        except InterruptedError:
            continue
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else SIGNALLED - code


def _mount(plan: Plan) -> None:
    os.umask(0o022)
    kernel.hide_mounts()
    root, quiet = plan.root, kernel.NO_SETUID | kernel.NO_DEVICES
    kernel.mount("tmpfs", root, kernel.NO_SETUID, f"mode=755,size={ROOT_BYTES},nr_inodes={ROOT_FILES}")
    for name, size in (("tmp", plan.limits.disk_bytes), ("dev/shm", SHARED_MEMORY_BYTES)):
        Path(f"{root}/{name}").mkdir(parents=True)
        options = f"mode=1777,size={size},nr_inodes={plan.limits.files}"
        kernel.mount("tmpfs", f"{root}/{name}", quiet, options)
    for name in DEVICES:
        Path(f"{root}/dev/{name}").touch()
        kernel.bind(f"/dev/{name}", f"{root}/dev/{name}")
    for name, to in STREAMS.items():
        Path(f"{root}/dev/{name}").symlink_to(f"/proc/self/{to}")
    shown = (*SYSTEM, *plan.read)
    for path in shown:
        _show(root, Path(path), shown)
    for target, source in plan.copied.items():
        copies.copy(Path(source), Path(root + target))
    Path(f"{root}/proc").mkdir()
    # Inside of a container it may be refused; then there is none to be seen.
    with contextlib.suppress(OSError):
        kernel.mount("proc", f"{root}/proc", quiet | kernel.NO_PROGRAMS)
    kernel.enter(root)
    kernel.read_only("/", below=False)


def _show(root: str, path: Path, shown: Sequence[str]) -> None:
    """Let a path be there for reading, if there is such a path and it is not there yet.

    A link to a folder is one inside too, where that folder is among what is `shown`.
    """
    target = Path(f"{root}{path}")
    if not os.path.lexists(path) or os.path.lexists(target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() and path.is_dir() and (str(path) in SYSTEM or str(path.resolve()) in shown):
        target.symlink_to(path.readlink())
        return
    if path.is_dir():
        target.mkdir()
    else:
        target.touch()
    kernel.bind(str(path.resolve()), str(target))
    kernel.read_only(str(target))


def _as_program(plan: Plan) -> NoReturn:
    """Give up what the program must not have, and become it."""
    try:
        os.setsid()
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
        os.nice(POLITE)
        if plan.user is not None:
            _be(*plan.user)
        _limit(plan.limits)
        kernel.gain_nothing()
        os.chdir(plan.folder)
        os.umask(0o077)
        for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.closerange(3, plan.refused)
        os.closerange(plan.refused + 1, 65_536)
        os.execve(plan.command[0], list(plan.command), plan.environment)  # noqa: S606 - nothing is to read it
    except BaseException as error:  # noqa: BLE001 - this is a child: nothing may go on behind it
        _refuse(plan, error)


def _be(user: int, group: int) -> None:
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    # Who changes its user is closed to itself as well.
    kernel.be_opaque(opaque=False)
    # The limit of processes is of a user in a namespace: here those are its own alone.
    with contextlib.suppress(OSError):
        kernel.own_users()


def _limit(limits: Limits) -> None:
    for what, most in (
        (resource.RLIMIT_DATA, limits.memory_bytes),
        # What is mapped and never used is not memory, and libraries map much.
        (resource.RLIMIT_AS, limits.memory_bytes * 4),
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_FSIZE, limits.disk_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
