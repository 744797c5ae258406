"""Tests of what talks to this machine."""
