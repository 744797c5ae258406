"""Metabase's open-source edition, by its REST API: requests, what answers mean, and where versions differ."""

from pipeline.metabase.answers import NotAcceptedError, RefusedError
from pipeline.metabase.client import STARTING, Client
from pipeline.metabase.versions import ADMINISTRATORS, ALL_USERS, Version

__all__ = ["ADMINISTRATORS", "ALL_USERS", "STARTING", "Client", "NotAcceptedError", "RefusedError", "Version"]
