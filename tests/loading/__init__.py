"""Tests of loading: each step of it against real servers."""
