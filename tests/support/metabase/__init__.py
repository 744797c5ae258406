"""A stand-in for Metabase: it holds state, and refuses and forgets as the real one does.

Written from what Metabase's source says of versions 56 to 64, and from nothing of ours. What it does not do:
it draws nothing, serves no page, sends nothing, has no users but one, no models, no snippets and no MBQL
but native queries; its tables are those that the login may read; no request of it is slow.
"""

from tests.support.metabase.server import Metabase, running

__all__ = ["Metabase", "running"]
