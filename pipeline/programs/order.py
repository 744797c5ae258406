"""What a confined process is told to do: apart, so that who tells it imports nothing of Luigi."""

from enum import StrEnum


class Order(StrEnum):
    """What is to be done with a file of tasks: only looked at, or run."""

    CHECK = "check"
    RUN = "run"
