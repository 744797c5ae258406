"""What a chain is made of. Plain data: it does nothing, and knows nobody."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# What stands in a part's command only where the run is known.
_RUN_OPTION = " --run {run}"


@dataclass(frozen=True)
class Subject:
    """Something that can fail: its key, what people call it, what to type when it has failed, and its run.

    `steps_of` is what the ledger calls that whose steps they are, such as hr.employee; None for a whole run.
    """

    key: str
    name: str
    command: str
    run: str | None = None
    steps_of: str | None = None


@dataclass(frozen=True)
class Part:
    """A kind of thing that steps are about, such as a table: the parameters that name it, joined by a dot.

    `name` is what people call it, `command` what to type when it has failed; `{chain}`, `{name}` and
    `{run}` are put in.
    """

    parameters: tuple[str, ...]
    name: str
    command: str
    # What stands before its name in the ledger, with a dot.
    schema: str = ""
    # What stands behind its name in the keys of alerts, where another part has that name as well.
    aspect: str = ""


@dataclass(frozen=True)
class Task:
    """A Luigi task of a chain, by its class: what it is about, a part or (None) the whole."""

    name: str
    part: Part | None
    # All is well with what it is about once this is done.
    concludes: bool = False
    # It only waits for others, and is not a step in the ledger.
    gathers: bool = False
    # Its work is undone when the worker that did it ends: best done by the run itself.
    held_by_its_worker: bool = False


@dataclass(frozen=True)
class Chain:
    """A chain: its tasks in the order in which they depend on each other, the root last.

    `name` is the word after `pipeline run`, the beginning of the keys of its alerts, and the namespace of its
    tasks, but for the root, which people type without one.
    """

    name: str
    # Where its Luigi tasks are.
    module: str
    tasks: tuple[Task, ...]
    # How `pipeline run` is told to do a part alone: options, or "" for a word without one.
    options: tuple[str, ...] = ()
    # What `pipeline run --help` says of it; nothing where it is run by another chain's command alone.
    help: str = ""
    # Its command has options, or a judgement, of its own; else it is what `pipeline.cli.runs.plain` makes it.
    has_own_command: bool = False
    # Under this name its tasks have the run.
    run_parameter: str = "run"
    # One process does all of it: when that is killed, the whole is undone, and not the part that it was at.
    is_undone_as_a_whole: bool = False
    # It is fenced by locks of its own, and is wanted most when the scheduler is down as well.
    goes_alone: bool = False
    # `pipeline worker`, on any machine, may do its steps.
    may_be_helped: bool = False
    # The chain whose nights do this one as well: it has no job, and who runs that one needs what this needs.
    within: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether `pipeline run` does it by its entry here alone: whole, and judged by its steps."""
        return bool(self.help) and not self.has_own_command

    @property
    def root(self) -> str:
        """Return the task with which a whole run is done."""
        return self.tasks[-1].name

    @property
    def steps(self) -> tuple[str, ...]:
        """Return the tasks that the ledger or the work folder knows, in order."""
        return tuple(task.name for task in self.tasks if not task.gathers)

    def steps_of(self, part: Part) -> tuple[str, ...]:
        """Return the steps of one such part, in order."""
        return tuple(task.name for task in self.tasks if task.part is part and not task.gathers)

    def concluding(self, part: Part) -> tuple[str, ...]:
        """Return the steps with which all is well with one such part."""
        return tuple(
            task.name for task in self.tasks if task.part is part and task.concludes and not task.gathers
        )

    def task(self, name: str) -> Task:
        """Return the task of that name. Raise KeyError if this chain has none."""
        return {task.name: task for task in self.tasks}[name]

    def family(self, task: str) -> str:
        """Return what Luigi calls a task: etl.ExtractTable, LoadWarehouse."""
        return task if task == self.root else f"{self.name}.{task}"

    def command(self, run: str | None = None, *scope: str | Sequence[str] | None) -> str:
        """Return what to type for a run, of everything or of a scope alone; several names for one option."""
        given = [*zip(self.options, scope, strict=False), (f"--{self.run_parameter}", run)]
        each = [(option, value) for option, values in given for value in _several(values)]
        words = [word for option, value in each for word in (option, value) if word]
        return shlex.join(["pipeline", "run", self.name, *words])

    def part(self, part: Part, name: str, run: str | None) -> Subject:
        """Return a part of that name, such as the table hr.employee, in a run."""
        command = part.command if run else part.command.replace(_RUN_OPTION, "")
        return Subject(
            # Of the only part of its kind there is no name.
            "/".join(word for word in (self.name, name, part.aspect) if word),
            part.name.format(name=name),
            command.format(chain=self.name, name=name, run=run),
            run,
            f"{part.schema}.{name}" if part.schema else name or self.name,
        )

    def whole(self, run: str | None, *scope: str | Sequence[str] | None) -> Subject:
        """Return a whole run, or one of a scope alone, such as of one source, as `pipeline run` was told."""
        names = [",".join(_several(name)) for name in scope if name]
        return Subject(
            "/".join(["run", self.name, *names]),
            " ".join(["run", self.name, *names, *([run] if run else [])]),
            self.command(run, *scope),
            run,
        )

    @property
    def takes_a_name(self) -> bool:
        """Whether `pipeline run` takes the name of a part without an option, as in `run backup hr`."""
        return "" in self.options

    def started(self, run: str | None, *scope: str | None) -> Subject:
        """Return what `pipeline run` is about: the whole, unless even the root is about a part."""
        part = self.task(self.root).part
        if part is None:
            return self.whole(run, *scope)
        return self.part(part, ".".join(name for name in scope if name), run)

    def subject(self, task: str, parameters: Mapping[str, str]) -> Subject:
        """Return what a task is about, by its parameters."""
        part, run = self.task(task).part, parameters.get(self.run_parameter)
        if part is None:
            return self.whole(run)
        return self.part(part, ".".join(parameters[name] for name in part.parameters), run)

    def undone(self, task: str, parameters: Mapping[str, str]) -> Subject:
        """Return what is undone when the worker dies that was at this task."""
        if self.is_undone_as_a_whole:
            return self.whole(parameters.get(self.run_parameter))
        return self.subject(task, parameters)

    def makes_up_for_a_loss(self, task: str) -> bool:
        """Whether what a lost worker was to do is done once this task is."""
        return task == self.root or (self.task(task).concludes and not self.is_undone_as_a_whole)


def _several(value: str | Sequence[str] | None) -> list[str]:
    return [value] if isinstance(value, str) and value else list(value or ())
