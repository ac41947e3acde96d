"""Pages of the documentation site that are not in docs/: a hook of mkdocs, and an extension of griffe (see mkdocs.yml).

griffe is what reads the docstrings for mkdocstrings.
"""

import os.path
import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File

import basis

ROOT = Path(__file__).parents[1]
PAGES = {  # file of the repository: page of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "models/README.md": "models.md",
    "src/basis/assets/examples/README.md": "examples.md",
}
GROUPS = {  # page of the API reference: the modules whose public names it has
    "separate": "api assets.examples core.separator core.assessment core.modes core.plausibility evaluate.calibration",
    "priors": "core.prior io.checkpoint priors",
    "mixings": "core.mixing mixings",
    "posteriors": "core.posterior posteriors",
    "samplers": "core.sampler core.schedule samplers",
    "methods": "separators io.learned",
    "evaluate": "core.metric metrics evaluate.counting",
    "errors": "core.errors",
}


def group(name: str) -> str:
    """Page of the API reference that a public name is on."""
    module = basis._MODULES[name].removeprefix("basis.")
    for page, modules in GROUPS.items():
        if any(f"{module}.".startswith(f"{each}.") for each in modules.split()):
            return page
    raise ValueError(f"no page of the API reference has basis.{name}: add {module} to GROUPS in {__file__}")


def api() -> dict[str, str]:
    """Markdown of the API pages, by page."""
    names: dict[str, list[str]] = {page: [] for page in GROUPS}
    for name in sorted(basis.__all__, key=str.lower):
        names[group(name)].append(name)
    pages, index = {}, ["# API reference", ""]
    for page, members in names.items():
        entries = "\n".join(f"::: basis.{name}\n" for name in members)
        pages[f"api/{page}.md"] = f"# {page.capitalize()}\n\n{entries}"
        index += [f"## [{page.capitalize()}]({page}.md)", "", "| name | what it is |", "|---|---|"]
        index += [f"| [`{name}`]({page}.md#basis.{name}) | {summary(name)} |" for name in members] + [""]
    return {**pages, "api/index.md": "\n".join(index)}


def summary(name: str) -> str:
    """First line of a docstring, as the cell of a table."""
    line = (getattr(basis, name).__doc__ or "").strip().split("\n")[0]
    parts = re.split(r"(`+[^`]*`+)", line)  # text and code by turns; the bars of code need no escape
    return "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in parts)


def on_files(files, config):
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for page, content in api().items():
        files.append(File.generated(config, page, content=content))
    for recipe in sorted((ROOT / "recipes").glob("*.toml")):
        files.append(File.generated(config, f"recipes/{recipe.name}", abs_src_path=str(recipe)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links between files of the repository into links between pages of the site."""
    of_page = {to: source for source, to in PAGES.items()}
    source = ROOT / of_page.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def link(match):
        target = os.path.relpath(os.path.normpath(source.parent / match[1]), ROOT)
        target = PAGES.get(target, target.removeprefix("docs/"))
        if files.get_file_from_path(target) is None:
            return match[0]
        return f"]({os.path.relpath(target, os.path.dirname(page.file.src_uri) or '.')}{match[2] or ''})"

    return re.sub(r"\]\(([^)#:]+)(#[^)]*)?\)", link, markdown)


class Docstrings(griffe.Extension):
    """Shows doctests as code, and links public names in single backticks."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            text = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"(?<!`)`(\w+)`(?!`)", self.link, text)

    @staticmethod
    def link(match):
        return f"[{match[0]}][basis.{match[1]}]" if match[1] in basis.__all__ else match[0]
