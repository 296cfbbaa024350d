"""The documentation site as a browser gets it. Links to elsewhere are read, not followed: tests have no internet."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from processes import ROOT

# What a page may not fetch from anywhere else, by the element and attribute that fetches it.
FETCHED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("object", "data")}


class Page(HTMLParser):
    """One page: what can be linked to, what it links to, what it fetches, and its paragraphs."""

    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links, self.fetched, self.paragraphs = path, set(), [], [], []
        self._open = None
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        has = dict(attributes)
        if has.get("id"):
            self.ids.add(has["id"])
        if tag == "a" and has.get("href"):
            self.links.append(has["href"])
        if tag == "link" and has.get("rel") in ("stylesheet", "icon", "shortcut icon", "preload", "preconnect"):
            self.fetched.append(has["href"])
        self.fetched += [value for name, value in attributes if (tag, name) in FETCHED and value]
        if tag == "p":
            self._open = []

    def handle_endtag(self, tag):
        if tag == "p" and self._open is not None:
            self.paragraphs.append("".join(self._open))
            self._open = None

    def handle_data(self, data):
        if self._open is not None:
            self._open.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages of the site by their paths."""
    folder = tmp_path_factory.mktemp("site").resolve()
    built = subprocess.run([sys.executable, ROOT / "scripts/site", folder], capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stdout + built.stderr
    found = {path: Page(path) for path in folder.rglob("*.html")}
    assert len(found) > 60, "the tree has more pages than that"
    return found


def is_elsewhere(link):
    return bool(urlsplit(link).scheme or urlsplit(link).netloc)


def test_every_link_within_the_site_leads_to_a_file_and_an_anchor(site):
    lost = []
    for path, page in site.items():
        # The page of a lost link may be shown under any address, so its own links begin at the root.
        if path.name == "404.html":
            continue
        for link in (link for link in page.links if not is_elsewhere(link)):
            where = urlsplit(link)
            target = (path.parent / unquote(where.path)).resolve() if where.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or where.fragment and unquote(where.fragment) not in site[target].ids:
                lost.append(f"{path.name}: {link}")
    assert not lost


def test_links_to_elsewhere_are_whole_addresses(site):
    for path, page in site.items():
        for link in filter(is_elsewhere, page.links):
            where = urlsplit(link)
            local = where.hostname in ("127.0.0.1", "localhost")
            assert where.scheme == "https" and "." in (where.hostname or "") or local, f"{path.name}: {link}"
            assert not re.search(r"[\s<>\"`]|…", link), f"{path.name}: {link}"


def test_a_page_fetches_nothing_from_anywhere_else(site):
    root = next(path for path in site if path.name == "404.html").parent
    for path, page in site.items():
        assert page.fetched, path
        for what in page.fetched:
            assert not is_elsewhere(what), f"{path.name} fetches {what}"
    for style in root.rglob("*.css"):
        for what in re.findall(r"url\(['\"]?([^)'\"]+)|@import\s+['\"]([^'\"]+)", style.read_text()):
            assert not is_elsewhere("".join(what)) or "".join(what).startswith("data:"), f"{style.name} fetches {what}"


def test_lists_tables_and_blocks_are_shown_as_such(site):
    """What is one of these on GitHub and text in the dialect that MkDocs reads would stand in a paragraph."""
    raw = re.compile(r"^(?:[-*+] |\d+\. |\| |```|#+ )", re.MULTILINE)
    shown = [f"{path.name}: {text[:80]}" for path, page in site.items() for text in page.paragraphs if raw.search(text)]
    assert not shown


def test_every_page_is_reached_from_the_first_one(site):
    root = next(path for path in site if path.name == "404.html").parent
    first = site[root / "index.html"]
    reached = {(root / urlsplit(link).path).resolve() for link in first.links if not is_elsewhere(link)}
    beside = {root / "404.html", root / "search.html", root / "index.html"}
    assert set(site) - beside <= reached


def build_with(folder, text):
    """Builds the tree with more on its first page: all else of it is linked."""
    for name in ("docs", "examples", "charts", "deploy", "envoy", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "scripts").mkdir()
    (folder / "scripts/site").write_bytes((ROOT / "scripts/site").read_bytes())
    (folder / "README.md").write_text((ROOT / "README.md").read_text() + f"\n{text}\n")
    return subprocess.run([sys.executable, folder / "scripts/site"], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("text, said", [
    ("[a](docs/no-such-page.md)", "no-such-page.md"),
    ("[a](docs/glossary.md#no-such-heading)", "no-such-heading"),
])
def test_a_link_that_leads_nowhere_fails_the_build_and_is_named(tmp_path, text, said):
    built = build_with(tmp_path, text)
    assert built.returncode == 1 and said in built.stderr, built.stdout + built.stderr


def test_a_list_right_below_its_paragraph_is_a_list(tmp_path):
    built = build_with(tmp_path, "Two:\n- one\n- two")
    assert built.returncode == 0, built.stdout + built.stderr
    assert (tmp_path / "target/site/index.html").read_text().count("<li>one</li>") == 1
