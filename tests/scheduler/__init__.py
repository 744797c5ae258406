"""Tests of the scheduler as it is seen from outside of Luigi."""
