"""Audit: holds tables of the warehouse to their sources, row by row, whatever the loads believe.

A load trusts what its watermark says. An audit trusts nothing: it reads every row of a table on both sides
and compares. It only looks; the repair is a load that reads the table in full.
"""
