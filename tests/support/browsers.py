"""The browser that is driven: Chromium, headless."""

import os
import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
INSTALL = ["apt-get", "install", "--yes", "--no-install-recommends", "-qq", "chromium"]


def chromium() -> str:
    """Return the browser, installed if need be and as far as we may."""
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update", "-qq"], INSTALL):
            subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False)
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found
    pytest.skip(f"there is no Chromium, and it cannot be installed; type: {' '.join(INSTALL)}")
