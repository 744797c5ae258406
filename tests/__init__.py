"""Tests: on real servers, mirroring the code."""
