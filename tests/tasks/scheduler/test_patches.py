"""What is changed in Luigi's pages fits the version that is installed, and nothing else is changed."""

import pytest

from tasks.scheduler import patches


@pytest.mark.parametrize("name", patches.PATCHES)
def test_each_change_fits_the_installed_version_exactly_once(name: str) -> None:
    text = (patches.STATIC / name).read_text(encoding="utf-8")
    assert patches.patched(text, patches.PATCHES[name]) != text


def test_the_history_has_nothing_from_another_host() -> None:
    text = (patches.TEMPLATES / "layout.html").read_text(encoding="utf-8")
    left = patches.patched(text, patches.LAYOUT)
    assert "https://" not in left
    assert "visualiser/lib/bootstrap3/js/bootstrap.min.js" in left


def test_a_text_that_is_not_there_or_is_twice_is_an_error() -> None:
    for text in ("", "a a"):
        with pytest.raises(ValueError, match="does not contain exactly once: a"):
            patches.patched(text, (("a", "b"),))
