"""The documentation site builds by itself, and its API reference has every public name."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import basis

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built without the network: any connection would go to a proxy that does not exist."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"], "http://127.0.0.1:9")
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **nowhere, "PYTHONPATH": paths}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(ROOT / "mkdocs.yml"), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_public_name_has_a_page_to_be_on():
    pages = runpy.run_path(str(ROOT / "scripts" / "site_pages.py"))["api"]()
    entries = [name for text in pages.values() for name in re.findall(r"^::: basis\.(\w+)$", text, flags=re.MULTILINE)]
    assert sorted(entries) == sorted(basis.__all__)
    assert all(f"[`{name}`]" in pages["api/index.md"] for name in basis.__all__)


@pytest.mark.slow
def test_the_api_reference_has_every_public_name_once(site):
    pages = [page.read_text() for page in (site / "api").glob("*.html")]
    headings = [name for page in pages for name in re.findall(r'<h2 id="basis\.(\w+)"', page)]
    assert sorted(headings) == sorted(basis.__all__)


@pytest.mark.slow
def test_a_page_shows_the_text_of_the_docstring(site):
    page = (site / "api" / "separate.html").read_text()
    assert "Separate mixtures into their sources." in page
    assert 'href="errors.html#basis.UsageError"' in page  # what it raises is linked


@pytest.mark.slow
def test_the_readme_is_the_front_page(site):
    page = (site / "index.html").read_text()
    assert "overlap" in page
    assert 'src="images/demo.png"' in page
    assert 'href="contributing.html"' in page


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="([^"]+)"|<link[^>]+href="([^"]+)"', page.read_text())
        for source, link in loaded:
            assert not re.match(r"(https?:)?//", source or link), f"{page.name} loads {source or link}"
