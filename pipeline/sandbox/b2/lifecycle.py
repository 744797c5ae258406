"""Lifecycle rules, as B2 runs them about once a day: hide, delete what is hidden, cancel the unfinished."""

import itertools
from typing import Any

from b2sdk.v3.exception import BadRequest

from pipeline.sandbox.b2.disk_bucket import DiskBucket
from pipeline.sandbox.b2.simulator import Simulator
from pipeline.sandbox.b2.storage import MILLISECONDS_PER_DAY
from pipeline.sandbox.b2.versions import DiskFile

FIELDS = ("daysFromUploadingToHiding", "daysFromHidingToDeleting")
CANCELLING = "daysFromStartingToCancelingUnfinishedLargeFiles"


def check(rules: list[dict[str, Any]]) -> None:
    """Raise BadRequest as B2 does for days below one, unknown fields or prefixes that overlap."""
    for rule in rules:
        if set(rule) - {"fileNamePrefix", CANCELLING, *FIELDS}:
            raise BadRequest("a lifecycle rule has an unknown field", "bad_request")
        days = [rule.get(name) for name in (*FIELDS, CANCELLING)]
        if all(day is None for day in days) or any(day is not None and day < 1 for day in days):
            raise BadRequest("a lifecycle rule needs days of at least 1", "bad_request")
    prefixes = sorted(rule["fileNamePrefix"] for rule in rules)
    for first, second in itertools.pairwise(prefixes):
        if second.startswith(first):
            raise BadRequest("lifecycle rules have overlapping prefixes", "bad_request")


def advance(simulator: Simulator, days: int) -> dict[str, list[str]]:
    """Move the clock day by day, run every rule each day, and return the names of what was touched."""
    done: dict[str, list[str]] = {"hidden": [], "deleted": [], "cancelled": [], "locked": []}
    for _ in range(days):
        simulator.storage.move_clock(MILLISECONDS_PER_DAY)
        for bucket in simulator.bucket_id_to_bucket.values():
            for rule in bucket.lifecycle_rules:
                _run(bucket, rule, done)
    return done


def _run(bucket: DiskBucket, rule: dict[str, Any], done: dict[str, list[str]]) -> None:
    now = bucket.api.storage.now_milliseconds()
    by_name: dict[str, list[DiskFile]] = {}
    for file in bucket.versions():
        if file.name.startswith(rule["fileNamePrefix"]):
            by_name.setdefault(file.name, []).append(file)
    for name, versions in by_name.items():
        for file in versions:
            if file.action == "start" and _over(now - file.upload_timestamp, rule.get(CANCELLING)):
                bucket.drop(file)
                done["cancelled"].append(name)
        finished = [file for file in versions if file.action != "start"]
        _delete(bucket, rule, finished, now, done)
        newest = finished[0] if finished else None
        if newest and newest.action == "upload" and _over(now - newest.upload_timestamp, rule.get(FIELDS[0])):
            bucket.hide(name)
            done["hidden"].append(name)


def _delete(
    bucket: DiskBucket, rule: dict[str, Any], versions: list[DiskFile], now: int, done: dict[str, list[str]]
) -> None:
    for newer, older in itertools.pairwise(versions):
        if older.action == "upload" and _over(now - newer.upload_timestamp, rule.get(FIELDS[1])):
            if older.locked_until() is not None:
                done["locked"].append(older.name)
            else:
                bucket.drop(older)
                done["deleted"].append(older.name)
    if len(versions) == 1 and versions[0].action == "hide" and rule.get(FIELDS[1]):
        bucket.drop(versions[0])  # a marker that hides nothing any more


def _over(age_milliseconds: int, days: int | None) -> bool:
    return days is not None and age_milliseconds >= days * MILLISECONDS_PER_DAY
