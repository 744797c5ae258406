"""The licences in docs/security.md: of each package that an installation brings, as it declares its own."""

import configparser
import importlib.metadata
from collections.abc import Iterator, Mapping

# pytest brings it.
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline.sandbox.home import PROJECT
from tests.docs.test_security import rows, sections

# What a classifier says in SPDX's words; the last two leave open which of several licences it is.
CLASSIFIED = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "GNU General Public License (GPL)": "GPL",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL",
    "BSD License": "BSD",
}
OPEN = ("BSD", "LGPL")


def declared(metadata: Mapping[str, list[str]]) -> str:
    """Return the licence that a package declares: as an expression, by its classifiers, or in a word."""
    if expressions := metadata.get("license-expression"):
        return expressions[0]
    classifiers = [name.split(" :: ")[-1] for name in metadata.get("classifier", ()) if "License ::" in name]
    if classifiers:
        return ", ".join(CLASSIFIED.get(name, name) for name in classifiers)
    return next(iter(metadata.get("license", [""])[0].splitlines()), "").strip()


def is_listed_as(cell: str, licence: str) -> bool:
    """Whether a cell of the table has that licence, maybe with more about it."""
    more = (f"{licence},", f"{licence} ", *([f"{licence}-"] if licence in OPEN else []))
    return bool(licence) and (cell == licence or cell.startswith(more))


def wrong(brought: Mapping[str, tuple[str, str]], listed: Mapping[str, str]) -> list[str]:
    """Return how the tables are not what is brought, which is given by what brings it and its licence."""
    found = [
        f"{name}: brought by {by}, and not listed; read its licence, and add | {name} | {by} | {licence} |"
        for name, (by, licence) in brought.items()
        if name not in listed
    ]
    found += [
        f"{name}: declares {licence!r}, listed is {listed[name]!r}; read its licence, and correct the row"
        for name, (_, licence) in brought.items()
        if name in listed and not is_listed_as(listed[name], licence)
    ]
    return [*found, *(f"{name}: listed, and nothing brings it any more" for name in listed.keys() - brought)]


def installed() -> dict[str, tuple[str, str]]:
    """Return each package that setup.cfg asks for or that comes with one: what brings it, and its licence."""
    parser = configparser.ConfigParser()
    parser.read(PROJECT / "setup.cfg")
    asked = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    left = [(line, "setup.cfg") for text in asked for line in _requirements(text)]
    found: dict[str, tuple[str, str]] = {}
    seen: set[tuple[str, str]] = set()
    while left:
        line, by = left.pop(0)
        needed = Requirement(line)
        name = canonicalize_name(needed.name)
        package = importlib.metadata.distribution(name)
        found.setdefault(name, (by, declared(_values(package))))
        for extra in {"", *needed.extras} - {one for known, one in seen if known == name}:
            seen.add((name, extra))
            for other in package.requires or ():
                marker = Requirement(other).marker
                if marker is None or marker.evaluate({"extra": extra}):
                    left.append((other, name))
    return found


def _requirements(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line and not line.startswith("#"))


def _values(package: importlib.metadata.Distribution) -> dict[str, list[str]]:
    metadata = package.metadata
    return {name.lower(): [str(one) for one in metadata.get_all(name, [])] for name in metadata}


def listed() -> dict[str, str]:
    """Return the packages of the page's tables with their licences."""
    found: dict[str, str] = {}
    for row in rows(sections()["Supply chain"]):
        packages, _, licence = (cell.strip() for cell in row.strip("|").split("|"))
        if packages != "package":
            names = [canonicalize_name(name) for name in packages.replace(" ", "").split(",")]
            assert not (twice := found.keys() & names), f"listed twice: {twice}"
            found |= dict.fromkeys(names, licence)
    return found


def test_each_package_that_an_installation_brings_is_listed_with_the_licence_that_it_declares() -> None:
    brought = installed()
    # One that is asked for, one that comes with it, and one that comes with that.
    assert {"luigi", "python-daemon", "lockfile"} <= brought.keys()
    assert not (found := wrong(brought, listed())), "docs/security.md:\n" + "\n".join(found)


def test_a_new_package_another_licence_and_one_that_is_gone_are_named() -> None:
    brought = {"luigi": ("setup.cfg", "Apache-2.0"), "six": ("luigi", "GPL-3.0"), "new": ("six", "MIT")}
    assert wrong(brought, {"luigi": "Apache-2.0, with more", "six": "MIT", "old": "MIT"}) == [
        "new: brought by six, and not listed; read its licence, and add | new | six | MIT |",
        "six: declares 'GPL-3.0', listed is 'MIT'; read its licence, and correct the row",
        "old: listed, and nothing brings it any more",
    ]


def test_a_licence_is_read_wherever_a_package_declares_it_and_no_other_one_passes_for_it() -> None:
    assert declared({"license-expression": ["MIT-0"], "classifier": ["License :: X"]}) == "MIT-0"
    classifiers = ["Topic :: X", "License :: OSI Approved :: BSD License"]
    assert declared({"classifier": classifiers, "license": ["all of its text"]}) == "BSD"
    assert declared({"license": ["MIT\nPermission is hereby"]}) == "MIT"
    assert declared({}) == ""
    assert is_listed_as("BSD-3-Clause", "BSD")
    assert is_listed_as("LGPL-3.0 with exceptions", "LGPL")
    assert not is_listed_as("MIT-0", "MIT")
    assert not is_listed_as("MIT", "")
