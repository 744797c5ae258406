"""Check: looks, before a night does, whether everything that it needs is ready and lets us in.

A problem would stop a night or a backup; a warning is something that the night would go on without.
"""

from pipeline.observe.preflight.archive import fix
from pipeline.observe.preflight.finding import Finding
from pipeline.observe.preflight.night import everything, folders

__all__ = ["Finding", "everything", "fix", "folders"]
