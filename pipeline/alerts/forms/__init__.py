"""The forms in which an alert is sent: each a module of this package, called as luigi.cfg calls it.

A new form is a new module with a function `body(alert) -> bytes`, the JSON that the webhook takes.
"""

import importlib

from pipeline.alerts.message import Alert


def body(alert: Alert, form: str) -> bytes:
    """Return what is sent in a form, one of `pipeline.settings.values.alert_forms()`."""
    sent: bytes = importlib.import_module(f"{__name__}.{form}").body(alert)
    return sent
