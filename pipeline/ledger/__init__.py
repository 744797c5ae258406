"""The ledger: what was done, by whom, and what is believed of each table (the schema ops).

Nobody else names its tables (tests/ledger/test_room.py). `migrations` makes them.
"""

from pipeline.ledger.listings import Entry, keep_listing, last_listing, listing
from pipeline.ledger.shapes import accept_shape, accepted_shape, shapes_of
from pipeline.ledger.steps import (
    Standing,
    at_work,
    clear_steps,
    count_not_loaded,
    count_read,
    fail_step_of,
    fared,
    find_step,
    finish_step,
    is_there,
    last_loads,
    last_record,
    last_snapshots,
    open_steps,
    require_migrated,
    row_counts,
    seconds_of_tables,
    standing,
    steps_of,
)
from pipeline.ledger.watermarks import (
    Fresh,
    Watermark,
    fresh_as_of,
    loaded_tables,
    read_in_full,
    save_watermark,
    watermark,
)

__all__ = [
    "Entry",
    "Fresh",
    "Standing",
    "Watermark",
    "accept_shape",
    "accepted_shape",
    "at_work",
    "clear_steps",
    "count_not_loaded",
    "count_read",
    "fail_step_of",
    "fared",
    "find_step",
    "finish_step",
    "fresh_as_of",
    "is_there",
    "keep_listing",
    "last_listing",
    "last_loads",
    "last_record",
    "last_snapshots",
    "listing",
    "loaded_tables",
    "open_steps",
    "read_in_full",
    "require_migrated",
    "row_counts",
    "save_watermark",
    "seconds_of_tables",
    "shapes_of",
    "standing",
    "steps_of",
    "watermark",
]
