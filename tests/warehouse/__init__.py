"""Tests of pipeline/warehouse."""
