"""Tests of what is looked at from outside."""
