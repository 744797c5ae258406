"""Tests of marts: the SQL of analysts, built on real servers."""
