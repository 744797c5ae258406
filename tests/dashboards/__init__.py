"""Dashboards in Metabase, tried on its stand-in and on a real warehouse."""
