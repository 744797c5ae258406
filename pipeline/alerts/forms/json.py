"""JSON of the published schema, docs/alert.schema.json."""

from pipeline.alerts.message import Alert


def body(alert: Alert) -> bytes:
    """Return the alert itself."""
    return alert.model_dump_json().encode()
