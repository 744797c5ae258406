"""The processes in which a run's short steps are done: each does many, one after the other.

To make a process for each step, to log it in to Vault and to connect it takes ten times as long as a small
table that has not changed. To Luigi each step still has a process of its own: it is handed out, ends, fails
and is shown by itself, and a process that is killed takes the one step along that it was at.
"""

import contextlib
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import luigi
from luigi.task_register import load_task
from luigi.worker import TaskProcess

from pipeline import access
from pipeline.system import process_tree
from tasks.worker import stop
from tasks.worker.results import Pipe, Results

# A process does steps for so long, and is then followed by a new one: so long lives its login to Vault.
LIFE_SECONDS = 60.0
# One that has had nothing to do for so long ends its login, and has another for the next step.
IDLE_SECONDS = 30.0
# What is told to end, and does nothing any more, does so within this.
END_SECONDS = 10.0
# What goes on for longer has a link to its log.
LINK_SECONDS = 1.0

# Makes what runs a task in this process, as Luigi has it.
Make = Callable[[luigi.Task], TaskProcess]
# A task as it is sent: its module, its family and its parameters.
Order = tuple[str, str, Mapping[str, str]]


class Member:
    """One process of the pool."""

    def __init__(self, pool: "Pool") -> None:
        reader, self.orders = multiprocessing.Pipe(duplex=False)
        sender = pool.results.pipe()
        self.process = multiprocessing.Process(target=_serve, args=(reader, sender, pool), name="steps")
        self.made_at = time.monotonic()
        # The step that it was given last, and whether that is to be its last one.
        self.task_id: str | None = None
        self.ends = False
        # The new process finds itself among them.
        pool.members.append(self)
        try:
            self.process.start()
        except BaseException:
            # There is none that could be waited for.
            pool.members.remove(self)
            raise
        # It is known by now; and was given no step yet, which it would begin.
        stop.check()
        sender.close()
        reader.close()

    @property
    def serves(self) -> bool:
        """Whether it may be given another step."""
        fresh = time.monotonic() - self.made_at < LIFE_SECONDS
        return not self.ends and fresh and self.process.is_alive()

    def give(self, task: luigi.Task) -> None:
        """Have it do a step. Raise OSError if it is not there any more."""
        order: Order = task.task_module, task.task_family, task.to_str_params()
        self.task_id = task.task_id
        self.orders.send(order)

    def end(self) -> None:
        """Have it end after the step that it is at."""
        if not self.ends:
            self.ends = True
            # Not by the end of the pipe alone: other processes may have it open too.
            with contextlib.suppress(OSError):
                self.orders.send(None)
            self.orders.close()


class Pool:
    """The processes of one worker, which are as many as it does steps at once."""

    def __init__(self, make: Make, running: Mapping[str, Any], results: Results) -> None:
        """`running` has the steps that are under way, by their ids; `results` hears what becomes of them."""
        self.make, self._running, self.results = make, running, results
        self.members: list[Member] = []

    def process_for(self, process: TaskProcess) -> "Shared":
        """Return what does in one of the processes what `process` would do in one of its own."""
        return Shared(self, process)

    def hand_out(self, task: luigi.Task) -> Member:
        """Give a step to a process that has none, or to a new one."""
        self.end_old()
        for member in self._idle():
            if member.serves:
                try:
                    member.give(task)
                except OSError:  # it was killed just now, while it had nothing to do
                    member.end()
                    continue
                return member
        member = Member(self)
        member.give(task)
        return member

    def end_old(self) -> None:
        """End those that have nothing to do and are given nothing more.

        None ends by itself for being idle: it could be given a step at that very moment.
        """
        for member in self._idle():
            if not member.serves:
                member.end()
            # It is looked at until it is gone: one that does not end is killed when the worker is closed.
            if not member.process.is_alive():
                self.members.remove(member)

    def renew(self) -> None:
        """Have what comes done by new processes: these know what this one knew when they were made."""
        for member in self.members:
            member.end()

    def close(self) -> None:
        """End all of them; what is at a step is left to whoever waits for it."""
        deadline = time.monotonic() + END_SECONDS
        for member in self.members:
            member.end()
        for member in self.members:
            if member.task_id not in self._running:
                member.process.join(max(0.0, deadline - time.monotonic()))
                if member.process.is_alive():
                    member.process.kill()
                    member.process.join()

    def _idle(self) -> list[Member]:
        return [member for member in self.members if member.task_id not in self._running]


class Shared:
    """A step in a process of the pool, which to Luigi looks like one that has a process of its own."""

    use_multiprocessing = True

    def __init__(self, pool: Pool, process: TaskProcess) -> None:
        self._pool, self._process = pool, process
        self._member: Member | None = None
        self.task, self.status_reporter = process.task, process.status_reporter
        self.worker_timeout, self.timeout_time = process.worker_timeout, process.timeout_time
        self.began_at = time.monotonic()
        self.is_linked = False

    def start(self) -> None:
        """Begin the step."""
        # It is found among those under way by now, and must not be taken for what its process is at.
        self._member = self._pool.hand_out(self.task)

    @property
    def member(self) -> Member:
        """The process that does the step."""
        assert self._member is not None  # noqa: S101 - Luigi starts it first
        return self._member

    @property
    def wants_link(self) -> bool:
        """Whether it goes on for so long that people want to see its log."""
        return not self.is_linked and time.monotonic() - self.began_at > LINK_SECONDS

    @property
    def pid(self) -> int | None:
        # There is none if the worker is told to stop before it has one.
        return None if self._member is None else self._member.process.pid

    @property
    def exitcode(self) -> int | None:
        """How its process ended; never well, unless what it told before that is still to be read."""
        code = self.member.process.exitcode
        if code is None:
            return None
        # What a process sender is all in its pipe when it has ended: once that is empty, no more will come.
        if not self._pool.results.empty():
            return 0
        return code or 1

    def is_alive(self) -> bool:
        return self._member is not None and self._member.process.is_alive()

    def terminate(self) -> None:
        """End the process, and what it has started."""
        pid = self.pid
        if pid is not None:
            process_tree.end(process_tree.of(pid), END_SECONDS)

    def join(self, timeout: float | None = None) -> None:
        self.member.process.join(timeout)


def _serve(orders: Connection, sender: Pipe, pool: Pool) -> None:
    """Do the steps that are asked for, until no more can be asked for."""
    # If who asks is killed, the pipe ends, but only if nobody else can write to it.
    for member in pool.members:
        member.orders.close()
    for number in itertools.count(1):
        _call_this(process_tree.IDLE)
        try:
            if not orders.poll(IDLE_SECONDS):
                access.end_brief()
            order: Order | None = orders.recv()
        except (EOFError, KeyboardInterrupt):
            return
        if order is None:
            return
        # By its name, `pipeline run` sees where one step ends and the next begins.
        _call_this(f"step {number}")
        process: Any = pool.make(load_task(*order))
        process.is_linked_by_its_worker = True
        process.result_queue = sender
        with access.one_step():
            process.run()


def _call_this(name: str) -> None:
    """Give this process a name that others see, as in ps."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{os.getpid()}/comm").write_text(name)
