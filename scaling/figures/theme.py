"""How figures look, on white and on dark pages: colours, type, and the files they are saved as.

A figure is drawn once, in the colours of the white page. Its SVG carries a second set for readers who prefer dark
(prefers-color-scheme), one dark colour for each light one in `DARK`; PDF is for print, PNG for slides. Text reaches a
contrast of 4.5 and marks 3 on either page. Budgets take one colour each, the same in every figure, from a ramp
whose lightness grows with compute (viridis), so that it also reads in grey and by colour-blind readers. Orange is kept
for what was predicted and what came out.
"""

import io
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

INK, SOFT, RULE, PAGE = "#1c2024", "#5b6570", "#d9dee3", "#ffffff"
ORANGE, BLUE, PINK = "#b84a00", "#0069a8", "#a33b78"
SHADES = 48
# The ends of viridis that stand out from each page; the largest budget stands out most.
_LIGHT, _NIGHT = np.linspace(0.59, 0.0, SHADES), np.linspace(0.38, 0.98, SHADES)
RAMP = tuple(to_hex(mpl.colormaps["viridis"](at)) for at in _LIGHT)
DARK = {
  INK: "#e6e8ea", SOFT: "#9aa4ae", RULE: "#333a41", PAGE: "#14171a",
  ORANGE: "#ff9d4d", BLUE: "#5cb8f0", PINK: "#ea8fc4",
} | dict(zip(RAMP, (to_hex(mpl.colormaps["viridis"](at)) for at in _NIGHT), strict=True))  # fmt: skip

# figure.dpi is what layouts measure text at: a coarse one rounds the width of every letter.
WIDTH = 7.1  # inches: two columns of a journal
STYLE: Any = {
  "font.size": 8, "axes.labelsize": 8.5, "axes.titlesize": 8.5, "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
  "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False,
  "axes.linewidth": 0.6, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
  "text.color": INK, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4,
  "ytick.minor.width": 0.4, "xtick.major.size": 3, "ytick.major.size": 3, "xtick.minor.size": 1.6,
  "ytick.minor.size": 1.6, "lines.linewidth": 1.2, "lines.markersize": 4.2, "legend.frameon": False,
  "legend.fontsize": 7.5, "figure.dpi": 288, "pdf.fonttype": 42, "svg.hashsalt": "drivetrain",
  "figure.facecolor": PAGE, "axes.facecolor": "none", "savefig.facecolor": PAGE,
  "mathtext.fontset": "dejavusans", "axes.unicode_minus": True,
}  # fmt: skip


def budget_colours(flops: np.ndarray) -> list[str]:
  """One colour per compute of the table: by rank for a dozen budgets, by ln C for more."""
  flops = np.asarray(flops, float)
  known = np.unique(flops)
  if len(known) == 1:
    return [RAMP[-1]] * len(flops)
  if len(known) <= 12:
    share = np.searchsorted(known, flops) / (len(known) - 1)
  else:
    share = np.log(flops / known[0]) / np.log(known[-1] / known[0])
  return [RAMP[round(float(s) * (SHADES - 1))] for s in share]


def finish(figure: Figure, footer: str) -> None:
  """Writes `footer` (table hash, revision) below the figure and settles its layout, once for all files."""
  with mpl.rc_context(STYLE):
    figure.supxlabel(footer, fontsize=5.2, color=SOFT, x=0.005, ha="left")
    engine = figure.get_layout_engine()
    if engine is not None:
      for _ in range(2):  # the labels of ticks are known after the first pass only
        engine.execute(figure)
    figure.set_layout_engine("none")


def save_pictures(figure: Figure, path: pathlib.Path, png: bool) -> None:
  """Writes a finished figure to `path`.svg (both themes) and, where asked for, `path`.png (white page).

  The files hold no date, so that the same table gives the same bytes.
  """
  with mpl.rc_context(STYLE):
    text = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(text, format="svg", metadata=nothing)
    if png:
      figure.savefig(path.with_suffix(".png"), dpi=200, metadata={"Software": None})
  path.with_suffix(".svg").write_text(two_themes(text.getvalue()), encoding="utf-8")


def save_pages(figures: Sequence[Figure], path: pathlib.Path) -> None:
  """Writes finished figures as pages of one PDF, which then holds each font once; no date in it either."""
  with mpl.rc_context(STYLE), PdfPages(path, metadata={"CreationDate": None, "Producer": None}) as pages:
    for figure in figures:
      pages.savefig(figure)


def two_themes(svg: str) -> str:
  """The drawing with a dark set of colours, and without the address of a document type."""
  svg = svg[svg.index("<svg") :]
  used = [light for light in DARK if light in svg]
  rules = "".join(
    f'[style*="{kind}: {light}"]{{{kind}:{DARK[light]}!important}}'
    for light in used
    for kind in ("fill", "stroke")
    if re.search(f"{kind}: {light}", svg)
  )
  return svg.replace("</style>", f"@media screen and (prefers-color-scheme:dark){{{rules}}}</style>", 1)
