"""What all rules and checks have in common."""

from pipeline.catalog.declared import Declared
from pipeline.catalog.values import Level, Quarantine


class Ruled(Declared):
    """What is done where a rule does not hold."""

    level: Level = Level.ERROR
    """error: failing rows are not loaded; warn: it is recorded, and all rows are loaded."""
    quarantine: Quarantine = Quarantine.HOLD
    """What an error does. hold: nothing of the table is loaded; rows: failing rows are quarantined."""
