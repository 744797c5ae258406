"""What a job may read in Vault follows from what luigi.cfg asks of it."""

import re
from pathlib import Path

import pytest

from pipeline import settings
from pipeline.chains import jobs
from pipeline.nomad import policies
from pipeline.settings import Settings

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


EVERYTHING = """[report]
folder = page
[alerts]
secret = alerts
[visualizer]
secret = visualizer
[metabase]
url = http://127.0.0.1:2
secret = metabase
database_secret = metabase/database
[source.hr]
secret = source/hr
[backup]
bucket = backups
secret = b2/writer
verify_secret = b2/verifier
recipients = one.asc, two.asc
signers = signers
[restore]
secret = restore/b2
key_secret = restore/key
[drill]
secret = drill
[database.hr]
secret = database/hr
"""


def readable(read: Settings, job: jobs.Job) -> set[str]:
    """Return the paths of a job's policy."""
    return set(re.findall(r'^path "(.+)"', policies.policy(read, job), re.MULTILINE))


def test_whoever_can_run_a_chain_may_read_what_the_job_of_that_chain_may(tmp_path: Path) -> None:
    """A rerun of a night applies its dashboards as the night does, and would end without Metabase's key."""
    file = tmp_path / "luigi.cfg"
    file.write_text(SETTINGS + EVERYTHING)
    read = settings.read([file])
    wanted = jobs.wanted(read)
    its_own = {job.duty.name: readable(read, job) for job in wanted}
    of_dashboards = {f"secret/data/pipeline/{name}" for name in ("metabase/api_key", "warehouse/dashboards")}
    assert of_dashboards <= its_own["etl"]
    lacking = {
        (job.duty.name, chain.name): its_own[chain.name] - readable(read, job)
        for job in wanted
        for chain in job.duty.chains
    }
    assert ("rerun", "etl") in lacking
    assert ("rerun", "backup") in lacking
    assert {pair: paths for pair, paths in lacking.items() if paths} == {}


def test_metabase_reads_the_entry_of_its_own_database_and_no_other(tmp_path: Path) -> None:
    """And nobody else reads that one: whoever breaks into Metabase finds nothing of ours."""
    file = tmp_path / "luigi.cfg"
    file.write_text(SETTINGS + EVERYTHING)
    read = settings.read([file])
    entry = "secret/data/pipeline/metabase/database"
    found = {job.duty.name: readable(read, job) for job in jobs.wanted(read)}
    assert found["metabase"] == {entry}
    assert [name for name, paths in found.items() if entry in paths] == ["metabase"]
    of_dashboards = {"metabase/api_key", "warehouse/dashboards", "warehouse", "alerts", "visualizer"}
    assert found["dashboards"] == {f"secret/data/pipeline/{name}" for name in of_dashboards}


def test_a_job_signs_the_backups_of_its_own_database_and_nothing_else(tmp_path: Path) -> None:
    """A restore, a drill and watch verify with a file, and get no way to Vault's keys."""
    file = tmp_path / "luigi.cfg"
    file.write_text(SETTINGS + EVERYTHING + "[database.records]\nsecret = database/records\n")
    read = settings.read([file])
    found = {job.id: policies.policy(read, job) for job in jobs.wanted(read)}
    signing = {
        name: re.findall(r'"(transit/.+)" {\n  capabilities = (.+)', text) for name, text in found.items()
    }
    hr, records = ((f"transit/sign/pipeline-backup-{name}", '["update"]') for name in ("hr", "records"))
    assert {name: paths for name, paths in signing.items() if paths} == {
        "pipeline-backup-hr": [hr],
        "pipeline-backup-records": [records],
        "pipeline-rerun": [hr, records],
    }
    unsigned = (SETTINGS + EVERYTHING).replace("signers = signers\n", "")
    file.write_text(unsigned)
    read = settings.read([file])
    assert not [job for job in jobs.wanted(read) if "transit" in policies.policy(read, job)]


@pytest.mark.parametrize("database", ["", "database_secret = metabase/database\n"])
def test_metabase_is_a_job_only_where_its_database_is_named(tmp_path: Path, database: str) -> None:
    file = tmp_path / "luigi.cfg"
    file.write_text(SETTINGS + "[metabase]\nurl = http://127.0.0.1:2\nsecret = metabase\n" + database)
    names = {job.duty.name for job in jobs.wanted(settings.read([file]))}
    assert "dashboards" in names
    assert ("metabase" in names) == bool(database)


@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize("stanza", ["", "pgbackrest = main\n"])
def test_what_pgbackrest_has_is_drilled_only_where_it_is_named_and_without_the_private_key(
    tmp_path: Path, stanza: str, restore: bool
) -> None:
    """And without the drill server, which it does not use; its failure is no failure of our own drill."""
    file = tmp_path / "luigi.cfg"
    text = (SETTINGS + EVERYTHING).replace("[drill]\nsecret = drill\n", "") + stanza
    if not restore:
        text = text.replace("[restore]\nsecret = restore/b2\nkey_secret = restore/key\n", "")
    file.write_text(text)
    read = settings.read([file])
    found = {job.id: job for job in jobs.wanted(read)}
    assert ("pipeline-archive-drill" in found) == bool(stanza and restore)
    assert "pipeline-drill" not in found
    if job := found.get("pipeline-archive-drill"):
        entries = {"alerts", "visualizer", "restore/b2", "b2/writer", "b2/verifier", "warehouse"}
        assert readable(read, job) == {f"secret/data/pipeline/{name}" for name in entries}
