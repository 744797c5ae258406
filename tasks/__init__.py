"""The Luigi tasks: what depends on what, and when it is complete. The work itself is in `pipeline`."""

import gc
import warnings

# What is imported stays: to search it for garbage, each time there is more of it, is a tenth of the start.
gc.disable()

from luigi.parameter import UnconsumedParameterWarning  # noqa: E402

from pipeline import redact  # noqa: E402
from pipeline.system import hardening  # noqa: E402
from tasks.worker import client, defaults, refusal  # noqa: E402

# Before anything is made, also where `luigi --module tasks.etl` was typed.
hardening.harden()
# Before Luigi reads any of them, also where `luigi --module tasks.etl` was typed.
defaults.install()
# Before Luigi logs or reports anything.
redact.install()
# Before Luigi speaks to its scheduler, also where `luigi --module tasks.etl` was typed.
client.install()
# What is mistyped is refused before anything is scheduled, as by `pipeline run`.
refusal.install()
# Luigi warns of its own settings that another part of it reads; `pipeline.settings` refuses misspelt ones.
warnings.simplefilter("ignore", UnconsumedParameterWarning)
gc.freeze()
gc.enable()
