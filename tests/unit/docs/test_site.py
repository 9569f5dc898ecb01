"""The documentation builds with no warning, and no link in it, or in the pages beside it, leads nowhere."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.programs import script

ROOT = Path(__file__).parents[3]
CONFIGURATION = ROOT / "zensical.toml"
PAGES = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))
# Pages that are read in the repository only.
BESIDE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "installer/README.md")]
BUILD_TIMEOUT_S = 60
_LINK = re.compile(r"\]\(([^)\s]+)\)")
# Elements that make a browser fetch something by itself, and the attribute that says what.
_FETCHED = {"script": "src", "img": "src", "iframe": "src", "link": "href"}


class _Page(HTMLParser):
    """The anchors of a page, where its links lead, and what it has the browser fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if tag in _FETCHED and given.get(_FETCHED[tag]):
            self.fetched.append(str(given[_FETCHED[tag]]))


def _build(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script("zensical"), "build", "--strict"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
    )


def _copy(directory: Path) -> Path:
    shutil.copytree(ROOT / "docs", directory / "docs")
    shutil.copy(CONFIGURATION, directory)
    return directory


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = _copy(tmp_path_factory.mktemp("documentation"))
    built = _build(directory)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "No issues found" in built.stderr
    return directory / "dist" / "docs"


@cache
def _page(path: Path) -> _Page:
    return _Page(path.read_text())


def _built(site: Path) -> Iterator[tuple[Path, _Page]]:
    for path in sorted(site.rglob("*.html")):
        # Made by the tool, for whichever address it is shown at.
        if path.name != "404.html":
            yield path, _page(path)


def _problem(page: Path, link: str) -> str | None:
    """What is wrong with a link from a built page to another."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return f"{page.name}: {link}: there is no such page"
    if parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in _page(target).anchors:
        return f"{page.name}: {link}: there is no such anchor"
    return None


def test_every_page_is_built(site: Path) -> None:
    built = {path.relative_to(site).as_posix() for path, _ in _built(site)}
    assert built == {page.as_posix().replace("README.md", "index.md")[:-3] + ".html" for page in PAGES}


def test_no_link_or_picture_of_a_built_page_leads_nowhere(site: Path) -> None:
    problems = [
        problem
        for path, page in _built(site)
        for link in {*page.links, *page.fetched}
        if (problem := _problem(path, link))
    ]
    assert problems == []


def test_pages_load_nothing_from_another_server(site: Path) -> None:
    fetched = {link for _, page in _built(site) for link in page.fetched}
    assert fetched
    assert {link for link in fetched if urlsplit(link).netloc} == set()
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", sheet.read_text()), sheet


@pytest.mark.parametrize("page", BESIDE, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_of_a_page_beside_them_leads_nowhere(site: Path, page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        assert target.exists(), f"{link}: there is no such file"
        if parts.fragment:
            inside = target.relative_to(ROOT / "docs").with_suffix(".html")
            assert parts.fragment in _page(site / inside).anchors, f"{link}: there is no such anchor"


def _navigation(entries: object) -> Iterator[str]:
    match entries:
        case str():
            yield entries
        case list():
            for each in entries:
                yield from _navigation(each)
        case dict():
            for each in entries.values():
                yield from _navigation(each)


def test_the_navigation_has_every_page_once_and_no_other() -> None:
    """The decisions stand in their own list."""
    listed = list(_navigation(tomllib.loads(CONFIGURATION.read_text())["project"]["nav"]))
    decisions = [page.as_posix() for page in PAGES if page.parts[0] == "decisions"]
    others = [page.as_posix() for page in PAGES if page.parts[0] != "decisions"]
    assert sorted(listed) == sorted([*others, "decisions/README.md"])
    index = _LINK.findall((ROOT / "docs/decisions/README.md").read_text())
    assert sorted(["decisions/README.md", *(f"decisions/{name}" for name in index)]) == sorted(decisions)


@pytest.mark.parametrize("link", ["nowhere.md", "money.md#no-such-thing"])
def test_a_broken_link_fails_the_build(tmp_path: Path, link: str) -> None:
    _copy(tmp_path).joinpath("docs/broken.md").write_text(f"# Broken\n\n[there]({link})\n")
    built = _build(tmp_path)
    assert built.returncode != 0
    assert "broken.md" in built.stdout + built.stderr


@pytest.mark.parametrize(
    ("link", "said"),
    [("images/none.png", "no such page"), ("other.html#none", "no such anchor"), ("other.html#here", None)],
)
def test_a_link_that_the_build_lets_through_is_found_out(tmp_path: Path, link: str, said: str | None) -> None:
    page = tmp_path / "page.html"
    page.write_text("")
    (tmp_path / "other.html").write_text('<h1 id="here">Here</h1>')
    problem = _problem(page, link)
    assert problem is None if said is None else said in str(problem)
