"""A report that is one file: opens offline in any browser, light or dark, pictures and numbers side by side."""

import base64
import dataclasses
import html
import os
import pathlib
from collections.abc import Sequence

from data.errors import BadInput
from data.files import write_text_atomic

Cell = str | int | float | None


@dataclasses.dataclass(frozen=True)
class Table:
  """Numbers as a person reads them: `rows` of cells under `header`; floats are shown to four digits. `wrap` lets the
  text of cells break, for tables of words."""

  header: Sequence[str]
  rows: Sequence[Sequence[Cell]]
  caption: str = ""
  wrap: bool = False


@dataclasses.dataclass(frozen=True)
class Figure:
  """A PNG or SVG on disk that is copied into the report; `alt` says in words what it shows."""

  path: pathlib.Path
  alt: str
  caption: str = ""


@dataclasses.dataclass(frozen=True)
class Page:
  """An HTML file of our own making, moving pictures for instance: copied into a frame where its scripts see only it."""

  path: pathlib.Path
  title: str


@dataclasses.dataclass(frozen=True)
class Section:
  """A heading, paragraphs of plain text, then tables and figures in the order given.

  `notes` are warnings, shown as a list that stands out.
  """

  title: str
  paragraphs: Sequence[str] = ()
  items: Sequence[Table | Figure | Page] = ()
  notes: Sequence[str] = ()


def write_report(
  path: os.PathLike | str, title: str, sections: Sequence[Section], subtitle: str = "", footer: str = ""
) -> pathlib.Path:
  """Writes `path` atomically; all text is escaped, nothing is fetched when it is opened.

  Raises BadInput when a figure is missing or is neither PNG nor SVG.
  """
  body = "\n".join(_section(section) for section in sections)
  lead = f'<p class="lead">{html.escape(subtitle)}</p>' if subtitle else ""
  page = (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
    f"<header><h1>{html.escape(title)}</h1>{lead}</header>\n{body}\n"
    f"<footer>{html.escape(footer)}</footer>\n</main>\n</body>\n</html>\n"
  )
  write_text_atomic(path, page)
  return pathlib.Path(path)


def _section(section: Section) -> str:
  parts = [f"<h2>{html.escape(section.title)}</h2>"]
  parts += [f"<p>{html.escape(text)}</p>" for text in section.paragraphs]
  if section.notes:
    parts.append(
      "<ul class='notes'>" + "".join(f"<li>{html.escape(n)}</li>" for n in section.notes) + "</ul>"
    )
  parts += [_item(item) for item in section.items]
  return "<section>\n" + "\n".join(parts) + "\n</section>"


def _item(item: Table | Figure | Page) -> str:
  if isinstance(item, Table):
    return _table(item)
  return _figure(item) if isinstance(item, Figure) else _page(item)


def _page(page: Page) -> str:
  try:
    content = page.path.read_text(encoding="utf-8")
  except OSError:
    raise BadInput("the page is missing", page.path, "run the command again") from None
  title, inside = html.escape(page.title), html.escape(content)
  return f'<iframe title="{title}" sandbox="allow-scripts" srcdoc="{inside}"></iframe>'


def _table(table: Table) -> str:
  numeric = [
    all(isinstance(row[i], int | float) or row[i] is None for row in table.rows)
    for i in range(len(table.header))
  ]
  kinds = [' class="number"' if number else "" for number in numeric]
  head = "".join(f"<th{k}>{html.escape(h)}</th>" for h, k in zip(table.header, kinds, strict=True))
  rows = "\n".join(
    "<tr>" + "".join(f"<td{k}>{_cell(c)}</td>" for c, k in zip(row, kinds, strict=True)) + "</tr>"
    for row in table.rows
  )
  caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
  kind = ' class="words"' if table.wrap else ""
  body = f"<thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody>"
  return f'<div class="scroll" tabindex="0"><table{kind}>{caption}{body}</table></div>'


def _cell(value: Cell) -> str:
  """Whole numbers with separators, floats to four digits, large and tiny ones as a power of ten."""
  if value is None:
    return "&ndash;"
  if isinstance(value, bool):
    return "yes" if value else "no"
  if isinstance(value, str):
    return html.escape(value)
  if isinstance(value, int) or (float(value).is_integer() and 1e4 <= abs(value) < 1e9):
    return f"{int(value):,}".replace(",", "&#8239;")
  if value != 0 and not 1e-3 <= abs(value) < 1e6:
    mantissa, exponent = f"{value:.3g}".split("e") if "e" in f"{value:.3g}" else f"{value:.2e}".split("e")
    return f"{mantissa}&thinsp;&times;&thinsp;10<sup>{int(exponent)}</sup>"
  return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}".replace(",", "&#8239;")


def _figure(figure: Figure) -> str:
  try:
    content = figure.path.read_bytes()
  except OSError:
    raise BadInput("the figure is missing", figure.path, "run the command again") from None
  kind = (
    "png" if content.startswith(b"\x89PNG\r\n\x1a\n") else "svg+xml" if content.startswith(b"<svg") else ""
  )
  if not kind:
    raise BadInput("is neither PNG nor SVG", figure.path, "give the report pictures")
  data = base64.b64encode(content).decode()
  caption = f"<figcaption>{html.escape(figure.caption)}</figcaption>" if figure.caption else ""
  picture = f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(figure.alt)}">'
  return f'<figure><div class="scroll" tabindex="0">{picture}</div>{caption}</figure>'


STYLE = """
:root { --ink: #1c2024; --soft: #5b6570; --page: #ffffff; --rule: #d9dee3; --note: #8a4b08; --note-page: #fff6e8;
  color-scheme: light dark; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --soft: #9aa4ae; --page: #14171a;
  --rule: #333a41; --note: #f2b866; --note-page: #2a2114; } }
* { box-sizing: border-box; }
html { background: var(--page); }
body { margin: 0; background: var(--page); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .5rem; padding-top: 1.25rem; border-top: 1px solid var(--rule); }
p { max-width: 46rem; margin: .6rem 0; }
.lead { font-size: 1.1rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { min-width: min(100%, 26rem); border-collapse: collapse; font-size: .92rem;
  font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th { text-align: left; font-weight: 600; border-bottom: 1.5px solid var(--ink); }
th, td { padding: .3rem 1.1rem .3rem 0; white-space: nowrap; vertical-align: top; }
td { border-bottom: 1px solid var(--rule); }
.words td { white-space: normal; }
iframe { width: 100%; height: 50rem; border: 1px solid var(--rule); background: white; }
.words td:first-child { min-width: 7.5rem; font-weight: 600; }
.number { text-align: right; }
figure { margin: 1.5rem 0 2rem; }
figure .scroll { margin: 0; }
img { width: 100%; min-width: 40rem; height: auto; display: block; }
figcaption { color: var(--soft); font-size: .92rem; margin-top: .5rem; max-width: 46rem; }
.notes { background: var(--note-page); color: var(--note); border-radius: 6px; padding: .75rem 1rem .75rem 2rem;
  max-width: 46rem; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media print { main { max-width: none; padding: 0; } figure, table { break-inside: avoid; } img { min-width: 0; } }
"""
