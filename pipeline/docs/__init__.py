"""Docs: what there is to know of every table, mart and dashboard, as one page of HTML."""

from pipeline.docs.contents import Contents, gather
from pipeline.docs.page import page

__all__ = ["Contents", "gather", "page"]
