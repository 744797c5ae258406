"""A night done by several: a scheduler of the test's own, which can be killed, and workers, also on nodes of
their own: network namespaces with a hostname each.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.night import Night, program
from tests.support.schedulers import Served

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Node:
    """Where a worker runs: a network namespace with nothing but a cable to this machine, or this machine."""

    name: str
    namespace: bool

    def command(self, arguments: Sequence[str | Path]) -> list[str]:
        """Return the command line that runs a program there, under the node's own hostname."""
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name]
        there = ["ip", "netns", "exec", self.name] if self.namespace else []
        return [*there, *named, *map(str, arguments)]


@dataclass
class Crew:
    """A night with a scheduler of its own. `settings` are of Luigi's scheduler, such as `retry_delay`."""

    night: Night
    served: Served
    settings: dict[str, str]
    nodes: list[Node] = field(default_factory=list)
    ending: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        file = self.night.platform.settings_file
        lines = "".join(f"{name} = {value}\n" for name, value in self.settings.items())
        text = file.read_text()
        assert "[scheduler]\n" in text
        file.write_text(text.replace("[scheduler]\n", f"[scheduler]\n{lines}", 1))

    @property
    def folder(self) -> Path:
        """Where logs lie."""
        return self.served.folder

    def tasks(self, status: str, family: str) -> list[str]:
        """Return the ids of the tasks of a family that have a status."""
        found = self.served.door.call("task_list", status=status, upstream_status="")
        return [task_id for task_id, task in found.items() if task["name"] == family]

    # Workers.

    def start(self, *arguments: str, node: Node | None = None) -> "subprocess.Popen[str]":
        """Start `pipeline ARGUMENTS` in a session of its own; what is left of it ends with the test."""
        command = [str(program("pipeline")), *arguments]
        log = (self.folder / f"{next(_numbers)}.log").open("w")
        self.ending.enter_context(log)
        started = subprocess.Popen(
            node.command(command) if node else command,
            text=True,
            env=self.night.platform.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.night.started.append(started)
        return started

    def logs(self) -> str:
        """Return all that was said, for a failure's message."""
        return "\n".join(
            f"== {path.name}\n{path.read_text()[-6000:]}" for path in sorted(self.folder.glob("*.log"))
        )

    @staticmethod
    def signal(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
        """Send a signal to a command and to all that it started, as it happens to a whole machine."""
        top = psutil.Process(process.pid)
        # It last: its end is a reason for the others to end in good order.
        for member in [*top.children(recursive=True), top]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(number)

    def node(self, name: str) -> Node:
        """Return a new node. Where namespaces cannot be had, it is this machine under another name."""
        made = Node(name, _may_have_namespaces())
        if made.namespace:
            self.ending.enter_context(self._cabled(made, len(self.nodes)))
        self.nodes.append(made)
        return made

    @contextlib.contextmanager
    def _cabled(self, node: Node, number: int) -> Iterator[None]:
        """Make a namespace and its cable; our servers, which listen on loopback only, are forwarded to it."""
        cable = f"p{os.getpid() % 10**6}x{number}"
        here, there = (
            f"10.213.{os.getpid() % 250}.{4 * number + 1}",
            f"10.213.{os.getpid() % 250}.{4 * number + 2}",
        )
        inside = ["ip", "netns", "exec", node.name]
        _do("ip", "netns", "add", node.name)
        try:
            _do("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", node.name)
            _do("ip", "addr", "add", f"{here}/30", "dev", cable)
            _do("ip", "link", "set", cable, "up")
            _do(*inside, "ip", "addr", "add", f"{there}/30", "dev", "eth0")
            _do(*inside, "ip", "link", "set", "eth0", "up")
            _do(*inside, "ip", "link", "set", "lo", "up")
            with self._forwarded([], here, "127.0.0.1"), self._forwarded(inside, "127.0.0.1", here):
                yield
        finally:
            # The cable goes with its end.
            _do("ip", "netns", "delete", node.name)

    @contextlib.contextmanager
    def _forwarded(self, where: Sequence[str], listen: str, target: str) -> Iterator[None]:
        ports = [self.served.port, *self.night.platform.sandbox.home.state.ports.values()]
        forward = [sys.executable, "-m", "tests.support.forward", listen, target, *map(str, ports)]
        forwarder = subprocess.Popen(
            [*where, *forward],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert forwarder.stdout is not None
        with forwarder.stdout:
            try:
                assert forwarder.stdout.readline() == "ready\n"
                yield
            finally:
                forwarder.kill()
                forwarder.wait()

    def close(self) -> None:
        """End the commands that were started, and take the nodes away."""
        for process in self.night.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.ending.close()


def _may_have_namespaces() -> bool:
    name = f"try{os.getpid()}"
    try:
        _do("ip", "netns", "add", name)
        _do("ip", "netns", "delete", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _do(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True)
