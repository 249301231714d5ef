"""The repository as a whole: what lies where, what must not be in it, and what must agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests.conftest import FIRST
from tests.house.package import ROOT, tracked
from twingraph_nb import __version__
from twingraph_nb.platforms import PLATFORMS

TOP = {
    ".ci", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE",
    "Makefile", "README.md", "binder", "extension", "notebooks", "pyproject.toml", "tests",
    "twingraph_nb",
}  # fmt: skip
REGISTRY = re.compile(r"https?://[^\s\"'<>)]*(pypi|pythonhosted|npmjs|registry)[^\s\"'<>)]*", re.I)
LARGEST = 1_000_000  # bytes; a screenshot fits, a data set does not
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "README.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def texts() -> dict[Path, str]:
    """Each tracked file that is text."""
    found = {}
    for path in tracked():
        try:
            found[path] = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def test_top_level_holds_what_it_should_and_no_more() -> None:
    assert sorted({path.parts[0] for path in tracked()} - TOP) == []


def hits(pattern: re.Pattern[str]) -> list[str]:
    """Where a pattern occurs in the tracked files."""
    return [f"{path}: {hit[0]}" for path, text in texts().items() for hit in pattern.finditer(text)]


def test_no_file_names_a_package_registry() -> None:
    assert hits(REGISTRY) == []


def test_no_file_holds_a_path_of_this_machine() -> None:
    places = [str(place) for place in (ROOT, Path.home()) if len(place.parts) > 1]
    machine = re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, places))})(?![\w-])")
    assert hits(machine) == []


def test_no_file_is_large() -> None:
    sizes = {str(path): (ROOT / path).stat().st_size for path in tracked()}
    assert {path: size for path, size in sizes.items() if size > LARGEST} == {}


def test_files_of_tests_that_are_begun_first_are_there() -> None:
    assert [path for path in FIRST if not (ROOT / path).exists()] == []


def test_changelog_has_a_place_for_what_comes_next() -> None:
    assert "## [Unreleased]" in CHANGELOG


def test_changelog_knows_no_version_after_this_one() -> None:
    known = re.findall(r"^## \[(\d+)\.(\d+)\.(\d+)\]", CHANGELOG, re.M)
    this = tuple(map(int, __version__.split(".")[:3]))
    assert [each for each in known if tuple(map(int, each)) > this] == []


def test_readme_fits_on_a_few_screens() -> None:
    assert len(README.splitlines()) < 150


def test_readme_says_the_python_it_needs() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    assert "Python 3.11" in README


def test_readme_names_every_platform_and_what_it_needs() -> None:
    said = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*?) \|$", README, re.M))
    assert list(said) == list(PLATFORMS)
    for name, platform in PLATFORMS.items():
        needs = f"`twingraph-nb[{platform.extra}]`" if platform.extra else "nothing more"
        assert said[name] == needs
        assert not platform.extra or platform.extra in PROJECT["optional-dependencies"]


def test_readme_names_only_extras_that_exist() -> None:
    said = set(re.findall(r"twingraph-nb\[(\w+)\]", README))
    assert said
    assert said <= set(PROJECT["optional-dependencies"])


def test_readme_names_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for document in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        assert set(re.findall(r"(?:^|`)make ([a-z]+)", document, re.M)) <= targets


def test_links_between_files_lead_somewhere() -> None:
    broken = []
    for path, text in texts().items():
        if path.suffix == ".md":
            for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
                if not (ROOT / path.parent / link).exists():
                    broken.append(f"{path}: {link}")
    assert broken == []


def test_tested_set_pins_every_direct_dependency() -> None:
    pins = re.findall(r"^([\w.-]+)==[\w.]+$", (ROOT / "binder/requirements.txt").read_text(), re.M)
    pinned = {each.lower().replace("_", "-") for each in pins}
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(each for extra in extras for each in extra)]
    names = {re.split(r"[<>=\[ ;]", each)[0].lower().replace("_", "-") for each in wanted}
    assert sorted(names - pinned) == []
