"""What a job may read in Vault follows from what luigi.cfg asks of it."""

from pathlib import Path

import pytest

from pipeline import jobs, settings
from pipeline.nomad import policies

SETTINGS = """
[vault]
url = http://127.0.0.1:1
auth = token
[warehouse]
secret = warehouse
[analysts]
checkout = analysts
"""


@pytest.mark.parametrize("report", ["", "[report]\nfolder = page\n"])
def test_a_night_reads_as_dashboards_do_only_where_it_writes_their_page(tmp_path: Path, report: str) -> None:
    file = tmp_path / "luigi.cfg"
    file.write_text(SETTINGS + report)
    read = settings.read([file])
    (etl,) = (job for job in jobs.wanted(read) if job.id == "pipeline-etl")
    assert ("warehouse/dashboards" in policies.policy(read, etl)) == bool(report)
