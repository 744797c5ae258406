"""The Luigi tasks: what depends on what, and when it is complete. The work itself is in `pipeline`."""

import warnings

import luigi.configuration
from luigi.parameter import UnconsumedParameterWarning

from pipeline import redact
from tasks import client, refusal

# Before Luigi logs or reports anything.
redact.install()
# Before Luigi speaks to its scheduler, also where `luigi --module tasks.etl` was typed.
client.install()
# What is mistyped is refused before anything is scheduled, as by `pipeline run`.
refusal.install()
# Luigi warns of its own settings that another part of it reads; `pipeline.settings` refuses misspelt ones.
warnings.simplefilter("ignore", UnconsumedParameterWarning)
# Each step has a log of its own, also where `luigi --module tasks.etl` was typed.
if not luigi.configuration.get_config().get("worker", "task_process_context", ""):
    luigi.configuration.get_config().set("worker", "task_process_context", "tasks.log.StepLog")
