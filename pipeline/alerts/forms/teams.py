"""For Microsoft Teams: the webhook of a workflow ("post to a channel when a webhook request is received").

It takes a message with an Adaptive Card. Texts stand in TextRuns, of which Teams reads no markup; those of a
TextBlock or a FactSet it would read as Markdown.
https://learn.microsoft.com/adaptive-cards/schema-explorer/text-run
"""

import json
from typing import Any

from pipeline.alerts.message import Alert, Kind

CARD = "application/vnd.microsoft.card.adaptive"
# Of what the card is made; Teams shows it on telephones as well.
VERSION = "1.4"
COLOURS = {
    Kind.FAILED: "attention",
    Kind.STALE: "attention",
    Kind.WARNING: "warning",
    Kind.RECOVERED: "good",
    Kind.NOTICE: "accent",
}


def body(alert: Alert) -> bytes:
    """Return the alert as a card."""
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": VERSION,
        # What a telephone's lock screen and a screen reader say.
        "fallbackText": f"{alert.kind}: {alert.summary}",
        "msteams": {"width": "Full"},
        "body": _blocks(alert),
        "actions": [
            {"type": "Action.OpenUrl", "title": title, "url": url}
            for title, url in (("Task", alert.task_url), ("Log", alert.log_url))
            if url
        ],
    }
    attachment = {"contentType": CARD, "contentUrl": None, "content": card}
    return json.dumps({"type": "message", "attachments": [attachment]}, ensure_ascii=False).encode()


def _blocks(alert: Alert) -> list[dict[str, Any]]:
    kind = _run(f"{alert.kind} ", weight="bolder", color=COLOURS[alert.kind])
    blocks = [_block(kind, _run(alert.summary, weight="bolder"))]
    if alert.error and alert.error not in alert.summary:
        blocks.append(_block(_run(alert.error)))
    where = f"{alert.key}, since {alert.since:%Y-%m-%d %H:%M} UTC, sent by {alert.host}"
    blocks.append(_block(_run(where, isSubtle=True)))
    if alert.hint:
        blocks.append(_block(_run("first: ", weight="bolder"), _run(alert.hint)))
    if alert.command:
        blocks.append(_block(_run(alert.command, fontType="monospace")))
    return blocks


def _block(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs)}


def _run(text: str, **how: object) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **how}
