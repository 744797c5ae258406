"""Drawn: a chart's spec as SVG, without script, in the colours of the page that it stands in."""

import re
from typing import Any

from pipeline.errors import UsageError
from pipeline.report.theme import COLOURS, Spec

EXTRA = "school-nightly-pipeline[report]"

_XML = re.compile(r' (?:xmlns(?::xlink)?|version)="[^"]*"')


class Pencil:
    """What draws. Raise UsageError if it is not installed."""

    def __init__(self) -> None:
        try:
            import vl_convert  # noqa: PLC0415 - an extra: a night does without
        except ImportError:
            raise UsageError(
                f"charts are drawn by vl-convert-python, which is not installed; type: pip install '{EXTRA}'"
            ) from None
        self._library: Any = vl_convert

    def svg(self, spec: Spec, title: str) -> str:
        """Return the picture; `title` is what it shows, for who cannot see it."""
        # No address is fetched, whatever a spec says.
        drawn = str(self._library.vegalite_to_svg(spec, allowed_base_urls=[]))
        for colour, name in COLOURS.items():
            drawn = drawn.replace(colour, f"var(--{name})")
        head, _, body = _XML.sub("", drawn, count=0).partition(">")
        width, height = (re.search(rf'{key}="([\d.]+)"', head) for key in ("width", "height"))
        if width is None or height is None:
            raise AssertionError(f"a picture without a size: {head}")
        return (
            f'<svg role="img" aria-label="{title}" viewBox="0 0 {width[1]} {height[1]}" '
            f'width="{width[1]}" height="{height[1]}">{body}'
        )
