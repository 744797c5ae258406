"""The colours of the page: what is written and drawn stands out from what is behind it, in each mode."""

import re
from importlib import resources

import pytest

# WCAG 2.2, success criteria 1.4.3 (text) and 1.4.11 (parts of a graphic).
TEXT, GRAPHIC = 4.5, 3.0
GROUNDS = ("paper", "back")


def modes() -> dict[str, dict[str, str]]:
    """Return the colours of each mode by name; dark and print say only what is other than light."""
    style = resources.files("pipeline").joinpath("data/report.css").read_text(encoding="utf-8")
    found = [
        dict(re.findall(r"--([\w-]+): (#\w+)", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    light, dark, paper = found
    return {"light": light, "dark": {**light, **dark}, "print": {**light, **paper}}


def luminance(color: str) -> float:
    """Return the relative luminance of a colour, 0 to 1, as WCAG 2.2 defines it."""
    full = "".join(2 * digit for digit in color[1:]) if len(color) == 4 else color[1:]
    parts = [int(full[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_as_the_source_says() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("mode", ["light", "dark", "print"])
def test_words_and_charts_stand_out_from_what_is_behind_them(mode: str) -> None:
    colors = modes()[mode]
    least = dict.fromkeys(("ink", "muted", "link", "bad"), TEXT) | {
        f"series-{n}": GRAPHIC for n in range(1, 9)
    }
    faint = {
        (name, ground): round(contrast(colors[name], colors[ground]), 2)
        for name, wanted in least.items()
        for ground in GROUNDS
        if contrast(colors[name], colors[ground]) < wanted
    }
    assert faint == {}
