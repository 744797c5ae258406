"""For Slack, and for what takes the same (Mattermost, Discord below /slack): one text in its own markup."""

import json

from pipeline.alerts.message import Alert, Kind

_SIGNS = {
    Kind.FAILED: ":red_circle:",
    Kind.STALE: ":hourglass:",
    Kind.WARNING: ":warning:",
    Kind.RECOVERED: ":large_green_circle:",
    Kind.NOTICE: ":information_source:",
}


def body(alert: Alert) -> bytes:
    """Return the alert as a message."""
    return json.dumps({"text": _text(alert)}, ensure_ascii=False).encode()


def _text(alert: Alert) -> str:
    lines = [f"{_SIGNS[alert.kind]} *{alert.kind}* {_escaped(alert.summary)}"]
    if alert.error and alert.error not in alert.summary:
        lines.append(f"> {_escaped(alert.error)}")
    lines.append(f"{_escaped(alert.key)}, since {alert.since:%Y-%m-%d %H:%M} UTC, sent by {alert.host}")
    if alert.hint:
        lines.append(f"first: {_escaped(alert.hint)}")
    if alert.command:
        lines.append(f"`{_escaped(alert.command)}`")
    urls = {"task": alert.task_url, "log": alert.log_url}
    if links := " | ".join(f"<{_escaped(url)}|{name}>" for name, url in urls.items() if url):
        lines.append(links)
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Return text that can hold no link and call nobody, such as <!channel>."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
