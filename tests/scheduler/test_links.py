"""Links into the visualizer name tasks as Luigi itself does."""

import luigi
import pytest

from pipeline.scheduler import links
from tasks.backup import UploadBackup
from tasks.drill import RestoreDrill
from tasks.etl import LoadTable, LoadWarehouse


@pytest.mark.parametrize(
    "task",
    [
        LoadTable(source="service_desk_of_the_school", table="Tische & Stühle", run="2026-11-22T1430"),
        LoadWarehouse(run="2026-11-22"),
        UploadBackup(database="hr", run="2026-11-22"),
        RestoreDrill(database="hr", month="2026-11-again"),
    ],
)
def test_a_task_has_the_id_that_luigi_gives_it(task: luigi.Task) -> None:
    assert links.task_id(task.task_family, task.to_str_params()) == task.task_id
