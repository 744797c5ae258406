"""How long a bucket keeps things: its lifecycle rules and lock, as they should be and as they are."""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Rule = Mapping[str, Any]

# The key to the hidden version's end: a day later it is gone, unless it is locked.
DAYS_FROM_HIDING = 1
# An upload that was cut can be taken up again for a week; its parts cost storage until then.
DAYS_UNFINISHED = 7
DAYS_PER_YEAR = 365


# What lies below it goes when somebody hides it, and not by its age. No other name begins so: those of
# databases begin with a letter.
KEPT = "_kept/"


def desired_rules(keep_days: int) -> tuple[Rule, ...]:
    """Return the lifecycle rules that keep everything for `keep_days` and a day, but what is `KEPT`.

    B2 lets no two rules be for the same name: so there is one for each letter that a name can begin with.
    """
    tidy = {
        "daysFromHidingToDeleting": DAYS_FROM_HIDING,
        "daysFromStartingToCancelingUnfinishedLargeFiles": DAYS_UNFINISHED,
    }
    by_age = {"daysFromUploadingToHiding": keep_days, **tidy}
    letters = ({"fileNamePrefix": letter, **by_age} for letter in string.ascii_lowercase)
    return ({"fileNamePrefix": KEPT, **tidy}, *letters)


@dataclass(frozen=True)
class BucketState:
    """What a bucket does with what is in it. `lock_enabled` None: the key lacks readBucketRetentions."""

    bucket_name: str
    rules: tuple[Rule, ...]
    lock_enabled: bool | None
    lock_mode: str | None
    lock_days: int | None

    def problems(self, *, keep_days: int, lock_days: int | None) -> list[str]:
        """Return what is not as it should be, a line each, with what to do."""
        where = f"bucket {self.bucket_name}"
        fix = "run 'pipeline check --fix' with an admin key"
        lines = []
        if _significant(self.rules) != _significant(desired_rules(keep_days)):
            lines.append(
                f"{where}: its lifecycle rules do not keep backups for {keep_days} days, and those below "
                f"{KEPT} at any age; {fix}"
            )
        if lock_days is None:
            return lines
        if self.lock_enabled is None:
            lines.append(f"{where}: the key may not read the lock; give it readBucketRetentions")
        elif not self.lock_enabled:
            lines.append(f"{where}: Object Lock is off; {fix}")
        elif (self.lock_mode, self.lock_days) != ("compliance", lock_days):
            lines.append(f"{where}: new objects are not locked for {lock_days} days (compliance); {fix}")
        return lines


def state(answer: Mapping[str, Any]) -> BucketState:
    """Return a bucket's state as B2 lists it."""
    lock = answer["fileLockConfiguration"]
    value = lock["value"] or {}
    retention = value.get("defaultRetention") or {}
    period = retention.get("period")
    days = period and int(period["duration"]) * (DAYS_PER_YEAR if period["unit"] == "years" else 1)
    return BucketState(
        bucket_name=answer["bucketName"],
        rules=tuple(
            dict(rule) | {"fileNamePrefix": str(rule["fileNamePrefix"])} for rule in answer["lifecycleRules"]
        ),
        lock_enabled=bool(value.get("isFileLockEnabled")) if lock["isClientAuthorizedToRead"] else None,
        lock_mode=retention.get("mode"),
        lock_days=days,
    )


def foreign(rules: tuple[Rule, ...]) -> list[str]:
    """Return the prefixes of rules that are not ours; one for every name was, in earlier versions."""
    ours = {"", KEPT, *string.ascii_lowercase}
    return [rule["fileNamePrefix"] for rule in rules if rule["fileNamePrefix"] not in ours]


def _significant(rules: tuple[Rule, ...]) -> list[dict[str, Any]]:
    plain = [{key: value for key, value in rule.items() if value is not None} for rule in rules]
    return sorted(plain, key=lambda rule: str(rule["fileNamePrefix"]))
