"""Where versions of Metabase differ, from 56 to 64: here, and nowhere else."""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import StepError

logger = logging.getLogger(__name__)

OLDEST, NEWEST = 56, 64

# The two groups that every instance has.
ALL_USERS = ("all-internal-users", "All Users")
ADMINISTRATORS = ("admin", "Administrators")


@dataclass(frozen=True)
class Version:
    """A version of Metabase, by its second number: v0.58.1 and v1.58.1 (the paid edition) are both 58."""

    major: int
    tag: str

    @classmethod
    def of(cls, url: str, tag: object) -> "Version":
        """Return the version that an instance calls itself. Raise StepError if it is too old for us.

        >>> Version.of("http://metabase", "v0.58.1").major
        58
        """
        match = re.match(r"v?[01]\.(\d+)", str(tag or ""))
        if match is None:
            # One built by hand calls itself vLOCAL_DEV or the like.
            logger.warning("Metabase at %s does not report its version (%s)", url, tag)
            return cls(NEWEST, str(tag))
        major = int(match[1])
        if major < OLDEST:
            raise StepError(
                f"Metabase at {url} is {tag}; the pipeline needs v0.{OLDEST} or later: upgrade it"
            )
        if major > NEWEST:
            logger.warning("Metabase at %s is %s; the newest version tried is %d", url, tag, NEWEST)
        return cls(major, str(tag))


def group(groups: Iterable[Mapping[str, Any]], wanted: tuple[str, str]) -> int:
    """Return the number of a group. By its magic type; where a version does not tell that, by its name."""
    kind, name = wanted
    listed = list(groups)
    for one in listed:
        if one.get("magic_group_type") == kind:
            return int(one["id"])
    for one in listed:
        if one.get("name") == name:
            return int(one["id"])
    raise StepError(f"Metabase has no group {name}", hint="see its Admin settings, People, Groups")


def native_query(database: int, sql: str, tags: Mapping[str, Any]) -> dict[str, Any]:
    """Return a query in the form that every version takes. From 57 on it comes back in another."""
    return {"database": database, "type": "native", "native": {"query": sql, "template-tags": dict(tags)}}


def read_query(query: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Return the SQL and the template tags of a query as any version gives it; None if it has no SQL.

    Before 57 that is the old form; since then MBQL 5, whose tags may be a list from 63 on.
    """
    if "stages" in query:
        stages = query["stages"] or [{}]
        native = stages[0] if len(stages) == 1 else {}
        return native.get("native"), _tags(native.get("template-tags"))
    native = query.get("native") or {}
    return native.get("query"), _tags(native.get("template-tags"))


def _tags(tags: object) -> dict[str, Any]:
    if isinstance(tags, list):
        return {str(one.get("name")): one for one in tags}
    return dict(tags) if isinstance(tags, Mapping) else {}


def field_of(tag: Mapping[str, Any]) -> int | None:
    """Return the field that a tag filters by: ["field", 12, null], or in MBQL 5 ["field", {...}, 12]."""
    dimension = tag.get("dimension")
    if not isinstance(dimension, list):
        return None
    return next((one for one in dimension[1:] if isinstance(one, int)), None)


def listed(answer: Any) -> list[Mapping[str, Any]]:
    """Return the things of a list, which some versions answer as it is, others with their number."""
    return list(answer["data"] if isinstance(answer, Mapping) else answer)


def grants(has: Any, may: Any) -> bool:
    """Whether a graph of permissions grants just that; what is "no" is left out of it, or not, by version.

    >>> grants(None, {"create-queries": "no"}), grants({"create-queries": "query"}, {"create-queries": "no"})
    (True, False)
    """
    if isinstance(may, Mapping):
        return all(((has or {}).get(key) or "no") == value for key, value in may.items())
    return bool(has == may)
