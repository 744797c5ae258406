"""Tests of backups: from the dump to the drill, against real servers and the emulated bucket."""
