"""What begins a run imports everything without searching it for garbage, and searches from then on."""

from pipeline.system import command

# Of many more that are imported.
FROZEN = 10_000
# As the child of `pipeline run`: it imports the tasks, and makes a worker.
IMPORTED = "import gc, tasks; print(gc.isenabled(), gc.get_freeze_count())"
MADE = """
import gc, tasks.worker.run as run
gc.disable()
import tasks.etl
before = gc.get_freeze_count()
run._Factory().create_worker(object(), 2)
print(gc.isenabled(), gc.get_freeze_count() - before)
"""


def test_what_is_imported_is_left_out_of_every_search_for_garbage() -> None:
    """By whoever imports the tasks, and by the worker of a run and all that are forked from it."""
    for code in (IMPORTED, MADE):
        enabled, frozen = command.run(command.python_code(code)).split()
        assert enabled == "True"
        assert int(frozen) > FROZEN
