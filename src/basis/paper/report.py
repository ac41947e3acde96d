"""One page with every table and figure, published beside measured; nothing on it comes from elsewhere."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from basis.evaluate.statistics import share_interval
from basis.paper.drawing import DPI
from basis.paper.experiment import NOT_THERE, Cell

SCREEN = 96  # CSS pixels to the inch


@dataclass(frozen=True)
class Shot:
    """A drawn figure: its caption, and the PNG file."""

    caption: str
    png: bytes


@dataclass(frozen=True)
class Section:
    """One table or figure of the report."""

    name: str
    title: str
    published_n: str
    cells: Sequence[Cell]
    shots: Sequence[Shot]
    notes: Sequence[str]


def page(sections: Sequence[Section], about: dict) -> str:
    """Return the report as one HTML file.

    Example:
        >>> "not measured" in page([Section("table1", "Table 1", "100", [Cell("a", "b", "dB", 1.5)], [], [])], {})
        True
    """
    style = files("basis.paper").joinpath("report.css").read_text()
    links = " · ".join(f'<a href="#{section.name}">{section.name}</a>' for section in sections)
    facts = "".join(f"<dt>{escape(key)}</dt><dd>{_fact(key, value)}</dd>" for key, value in about.items())
    body = "\n".join(map(_section, sections))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>basis: published and measured</title><style>{style}</style></head><body>
<h1>Published and measured</h1>
<p>Tables and figures of Jayaram &amp; Thickstun, <i>Source Separation with Deep Generative Priors</i> (ICML 2020), as
the paper prints them and as <code>basis</code> measured them here.</p>
<dl class="about">{facts}</dl>
<nav>{links}</nav>
{body}
</body></html>
"""


def _fact(key: str, value: object) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{name} {entry}" for name, entry in value.items())
    return f"<code>{escape(str(value))}</code>" if key == "command" else escape(str(value))


def _figure(shot: Shot) -> str:
    data = base64.b64encode(shot.png).decode()
    return (
        f'<figure><img alt="{escape(shot.caption)}" width="{_width(shot.png)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(shot.caption)}</figcaption></figure>"
    )


def _width(png: bytes) -> int:
    """Return the width in pixels of a screen at which a figure has the size that it was drawn for."""
    return round(int.from_bytes(png[16:20]) * SCREEN / DPI)


def _words(text: str) -> str:
    """Return text with what stands between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _section(section: Section) -> str:
    shots = "".join(map(_figure, section.shots))
    notes = "".join(f"<p>{_words(note)}</p>" for note in section.notes)
    return f"""<section id="{section.name}"><h2>{escape(section.title)}</h2>
<p class="published">In the paper: {escape(section.published_n)}.</p>
{_table(section.cells)}{shots}{notes}{_missing(section.cells)}{_conditions(section.cells)}</section>"""


def _table(cells: Sequence[Cell]) -> str:
    """Return rows and columns, each with the measured figure beside the published one where the paper has one."""
    rows = list(dict.fromkeys(cell.row for cell in cells))
    columns = {
        name: any(cell.published is not None for cell in cells if cell.column == name)
        for name in dict.fromkeys(cell.column for cell in cells)
    }
    units = {cell.column: cell.unit for cell in cells}
    found = {(cell.row, cell.column): cell for cell in cells}
    head = "".join(
        f'<th class="p" colspan="{1 + both}">{escape(_head(name, units[name]))}</th>' for name, both in columns.items()
    )
    under = "".join(
        ('<th class="p">published</th><th>' if both else '<th class="p">') + "measured</th>"
        for both in columns.values()
    )
    lines = "".join(
        f"<tr><th>{escape(row)}</th>"
        + "".join(_cell(found.get((row, name)), both) for name, both in columns.items())
        + f'<td class="n">{_counts([cell.n for cell in cells if cell.row == row])}</td></tr>'
        for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr><th rowspan="2"></th>{head}<th class="n" rowspan="2">n</th></tr>'
        f"<tr>{under}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _head(column: str, unit: str) -> str:
    unit = "%" if unit == "share" else unit
    return f"{column} ({unit})" if unit else column


def _counts(counts: Sequence[int]) -> str:
    return ", ".join(str(n) for n in sorted(set(counts)) if n)


def _cell(cell: Cell | None, both: bool) -> str:
    published = number(cell.published, cell.published_error, cell.unit) if cell else "–"
    first, second = (f'<td class="p">{published}</td>', "") if both else ("", "p ")
    if cell is None:
        return f'{first}<td class="{second}">–</td>'
    if cell.measured is None:
        return f'{first}<td class="{second}none" title="{escape(cell.missing)}">{_why(cell)}</td>'
    return f'{first}<td class="{second}"><b>{number(cell.measured, cell.error, cell.unit, cell.n)}</b></td>'


def _why(cell: Cell) -> str:
    return "–" if cell.missing == NOT_THERE else "not measured"


def number(value: float | None, error: float | None, unit: str, n: int = 0) -> str:
    """Return a figure with its deviation as text, "–" for none; shares of n in per cent, with a 95 % interval.

    Example:
        >>> number(1.0, None, "share", 24), number(27.986, 0.314, "dB"), number(None, None, "dB")
        ('100 % (86 to 100)', '27.99 ± 0.31', '–')
    """
    if value is None:
        return "–"
    if unit == "share":
        low, high = (100 * end for end in share_interval(value, n)) if n else (0.0, 100.0)
        return f"{100 * value:.0f} %" + (f" ({low:.0f} to {high:.0f})" if n else "")
    digits = 3 if abs(value) < 1 and value else 2
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def _missing(cells: Sequence[Cell]) -> str:
    """Return what was not measured, and what it takes."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        if cell.measured is None and cell.missing != NOT_THERE:
            lacking.setdefault((cell.row, cell.missing or "not measured"), []).append(cell.column)
    if not lacking:
        return ""
    entries = "".join(
        f"<li><b>{escape(row)}</b>{escape(_columns(columns))}: {_words(why)}</li>"
        for (row, why), columns in lacking.items()
    )
    return f"<h3>Not measured, and what it takes</h3><ul>{entries}</ul>"


def _columns(columns: Sequence[str]) -> str:
    named = [column for column in dict.fromkeys(columns) if column]
    return f" ({'; '.join(named)})" if named else ""


def _conditions(cells: Sequence[Cell]) -> str:
    """Return how each row was measured: method, settings, prior with its hash, seed, device, time."""
    rows: dict[str, dict] = {}
    for cell in cells:
        if cell.facts:
            rows.setdefault(cell.row, {"seconds": {}, **cell.facts, "n": cell.n})
            if "seconds" in cell.facts:
                rows[cell.row].setdefault("times", {})[cell.column] = cell.facts["seconds"]
    if not rows:
        return ""
    head = "".join(f"<th>{name}</th>" for name in ("row", "method", "settings", "prior", "seed", "device", "seconds"))
    lines = "".join(f"<tr><td>{escape(row)}</td>{_line(facts)}</tr>" for row, facts in rows.items())
    return (
        f'<details open><summary>How it was measured</summary><div class="wide"><table class="facts"><thead><tr>{head}'
        f"</tr></thead><tbody>{lines}</tbody></table></div></details>"
    )


def _line(facts: dict) -> str:
    settings = ", ".join(f"{key} = {value}" for key, value in facts.get("settings", {}).items())
    if facts.get("samples", 1) > 1:
        settings = f"samples = {facts['samples']}, {settings}".rstrip(", ")
    if extractor := facts.get("extractor"):
        settings = f"{settings}, features {extractor}, against {facts['reference']}".lstrip(", ")
    hashes = " ".join(f"{name} {sha[:12]}" for name, sha in facts.get("hashes", {}).items() if sha)
    times = ", ".join(f"{seconds:.0f}" for seconds in dict.fromkeys(facts.get("times", {}).values()))
    how = [facts[key] for key in ("device", "precision") if facts.get(key, "no") != "no"]
    how += ["compiled"] if facts.get("compile") else []
    entries = (
        facts.get("method", "–"), settings or "–", hashes or facts.get("prior", "–"), facts.get("seed", "–"),
        ", ".join(how) or "–", times or "–",
    )  # fmt: skip
    return "".join(f"<td>{escape(str(entry))}</td>" for entry in entries)
