"""What a step leaves in the work folder for people: how far it is, and how it failed."""

from datetime import datetime

from pydantic import BaseModel


class Progress(BaseModel):
    """How far a step of a run is; `message` says also for whom it waits."""

    run: str
    step: str
    percent: int
    message: str


class Failure(BaseModel):
    """How a step failed, as a PipelineError has it."""

    step: str
    error: str
    hint: str
    again: str = ""
    exit_code: int
    at: datetime
