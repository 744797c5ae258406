"""Tests of sync: what analysts push, and what strangers might."""
