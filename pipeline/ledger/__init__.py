"""The ledger: what was done, by whom, and what is believed of each table (the schema ops)."""

from pipeline.ledger.listings import Entry, keep_listing, last_listing, listing
from pipeline.ledger.shapes import accept_shape, accepted_shape, shapes_of
from pipeline.ledger.steps import (
    ERROR_LENGTH,
    fail_step_of,
    find_step,
    finish_step,
    last_loads,
    open_steps,
    require_migrated,
    row_counts,
    steps_of,
)
from pipeline.ledger.watermarks import Watermark, read_in_full, save_watermark, watermark

__all__ = [
    "ERROR_LENGTH",
    "Entry",
    "Watermark",
    "accept_shape",
    "accepted_shape",
    "fail_step_of",
    "find_step",
    "finish_step",
    "keep_listing",
    "last_listing",
    "last_loads",
    "listing",
    "open_steps",
    "read_in_full",
    "require_migrated",
    "row_counts",
    "save_watermark",
    "shapes_of",
    "steps_of",
    "watermark",
]
