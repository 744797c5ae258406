"""Tells Luigi our defaults: whatever luigi.cfg says wins, key by key."""

import warnings

import luigi.configuration

from pipeline.settings.luigi_defaults import LUIGI


def install() -> None:
    """Set what luigi.cfg leaves open. Luigi reads each section when it begins with what that is about."""
    config = luigi.configuration.get_config()
    with warnings.catch_warnings():
        # Of a key that is written with dashes: it counts all the same.
        warnings.simplefilter("ignore", DeprecationWarning)
        for section, defaults in LUIGI.items():
            for key, default in defaults.items():
                if not config.has_option(section, key):
                    config.set(section, key, default.value)
