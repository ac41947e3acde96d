"""The Python in README, CONTRIBUTING and the tutorials runs as it stands."""

import re
from pathlib import Path

import pytest

import basis

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_python_block_runs(page, tmp_path, monkeypatch):
    code = blocks(page)
    assert code, f"{page} has no Python left"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names = {"__name__": "page"}
    for block in code:
        exec(compile(block, str(page), "exec"), names)
    results = [value for value in names.values() if isinstance(value, basis.Separation)]
    assert results
    for result in results:
        assert (result.residual < (1 / 255) ** 2).all()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.stem)
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_public_name_has_an_example():
    for name in basis.__all__:
        assert ">>>" in (getattr(basis, name).__doc__ or ""), f"basis.{name} has no example"
