"""Figures can be read (ticks, contrast, labels apart), hide nothing, and repeat to the byte."""

import dataclasses
import re

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from scaling import analysis, cautions, fit_report
from scaling.figures import axes, clouds, frontier, gallery, theme
from tests.scaling.reported import predicted, written
from tests.scaling.surface import DRIVING, isoflop, write

BUDGETS = 1e11 * 4.0 ** np.arange(3)


def contrast(one: str, other: str) -> float:
  """WCAG 2 contrast of two colours."""

  def luminance(colour):
    rgb = np.array(mpl.colors.to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

  low, high = sorted((luminance(one), luminance(other)))
  return float((high + 0.05) / (low + 0.05))


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_marks_stand_out_on_either_page(dark):
  page = theme.DARK[theme.PAGE] if dark else theme.PAGE
  shown = (lambda c: theme.DARK[c]) if dark else (lambda c: c)
  for colour in (theme.INK, theme.SOFT, theme.ORANGE, theme.BLUE, theme.PINK):
    assert contrast(shown(colour), page) >= 4.5
  marks = [contrast(shown(colour), page) for colour in theme.RAMP]
  assert min(marks) >= 3 and all(np.diff(marks) > 0)  # larger budgets stand out more, in grey too


def test_every_light_colour_has_a_dark_one_of_its_own():
  assert len(set(theme.RAMP)) == theme.SHADES and len(set(theme.DARK.values())) == len(theme.DARK)


def test_budgets_keep_their_colour():
  few = theme.budget_colours(np.array([1e9, 1e10, 1e11]))
  assert few[0] == theme.RAMP[0] and few[-1] == theme.RAMP[-1] and len(set(few)) == 3
  assert theme.budget_colours(np.array([1e11, 1e9, 1e11, 1e10])) == [few[2], few[0], few[2], few[1]]
  many = theme.budget_colours(np.geomspace(1e18, 1e22, 200))
  assert (many[0], many[-1]) == (few[0], few[-1])


@pytest.mark.parametrize(
  ("low", "high", "expected"),
  [
    (5e9, 2e12, [1e10, 1e11, 1e12]),
    (5e9, 2e11, [1e10, 3e10, 1e11]),
    (900, 3e4, [1e3, 3e3, 1e4, 3e4]),
    (1500, 9000, [2e3, 5e3, 7e3]),
    (2.1, 2.9, [2.2, 2.4, 2.6, 2.8]),
  ],
)
def test_log_axes_have_three_round_ticks_or_more(low, high, expected):
  ticks = axes.log_ticks(low, high)
  assert len(ticks) >= 3 and all(low <= t <= high for t in ticks)
  if (low, high) != (1500, 9000):
    assert ticks == pytest.approx(expected)


def test_every_range_has_between_three_and_eight_ticks():
  rng = np.random.default_rng(0)
  for low, span in zip(10.0 ** rng.uniform(-3, 22, 300), 10.0 ** rng.uniform(0.1, 14, 300), strict=True):
    assert axes.LEAST_TICKS <= len(axes.log_ticks(low, low * span)) <= axes.MOST_TICKS, (low, span)


@pytest.mark.parametrize(
  ("value", "text"),
  [(4.03e11, r"4\times10^{11}"), (9.99e11, r"10^{12}"), (1e9, r"10^{9}"), (1.5e10, r"1.5\times10^{10}")],
)
def test_power_of_ten(value, text):
  assert axes.power_of_ten(value) == f"${text}$"


@pytest.mark.parametrize(("value", "text"), [(37024, "37k"), (7095822, "7.1M"), (1e12, "1T"), (604, "604")])
def test_short(value, text):
  assert axes.short(value) == text


def test_labels_are_moved_apart_no_further_than_needed():
  assert axes.spread([0.0, 1.0, 5.0], 1.0) == pytest.approx([0, 1, 5])
  assert axes.spread([2.0, 2.0, 2.0], 1.0) == pytest.approx([1, 2, 3])
  moved = axes.spread([0.3, 0.0, 0.1, 4.0], 0.5)
  assert np.diff(np.sort(moved)).min() >= 0.5 - 1e-12 and moved[3] == 4.0
  assert list(np.argsort(moved)) == [1, 2, 0, 3]


def test_points_beyond_the_frame_are_marked_on_it():
  figure = Figure()
  ax = figure.subplots()
  ax.set_xlim(0, 1)
  ax.set_ylim(0, 1)
  marked = axes.mark_beyond(
    ax, np.array([0.5, 2.0, 0.5, 0.4]), np.array([0.5, 0.5, 3.0, -1.0]), ["#000000"] * 4
  )
  at = {(line.get_marker(), float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in ax.lines}
  assert marked == 3 and at == {(">", 1.0, 0.5), ("^", 0.5, 1.0), ("v", 0.4, 0.0)}


def test_sizes_far_above_the_frontier_are_marked_in_its_panel():
  right = frontier.draw(predicted()).axes[1]
  low, high = right.get_ylim()
  losses = np.concatenate([p.runs.loss for p in predicted().iso.profiles])
  beyond = int(((losses < low) | (losses > high)).sum())
  markers = [line.get_marker() for line in right.lines]
  assert markers.count("^") + markers.count("v") == beyond
  assert (f"{beyond} sizes beyond" in " ".join(t.get_text() for t in right.texts)) == (beyond > 0)


def test_a_draw_far_out_does_not_leave_the_cloud_unseen():
  left = clouds.draw(predicted()).axes[0]
  law = predicted().law.draws
  (x0, x1), (y0, y1) = left.get_xlim(), left.get_ylim()
  outside = (law.alpha < x0) | (law.alpha > x1) | (law.beta < y0) | (law.beta > y1)
  marked = sum(line.get_marker() in ("^", "v", "<", ">") for line in left.lines)
  assert marked == outside.sum() and outside.mean() < 0.1


@pytest.mark.parametrize("name", sorted(gallery.PICTURES))
def test_every_picture_has_labelled_axes_and_ticks_that_are_read(name):
  figure = gallery.PICTURES[name].draw(predicted())
  assert figure is not None
  figure.draw_without_rendering()
  for ax in figure.axes:
    for axis in (ax.xaxis, ax.yaxis):
      low, high = sorted(axis.get_view_interval())
      ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
      said = [tick for tick in ticks if tick.label1.get_text()]
      hidden = axis is ax.yaxis and not ax.yaxis.get_tick_params().get("labelleft", True)
      assert hidden or len(said) >= 3, (name, axis.get_label_text())
    assert ax.get_xlabel(), name


@pytest.fixture(scope="module")
def saved():
  return written()


def test_all_pictures_of_a_full_fit_are_there(saved):
  for name in gallery.PICTURES:
    assert (saved / f"{name}.svg").read_text().startswith("<svg")
  assert (saved / "isoflop.png").read_bytes().startswith(b"\x89PNG")
  pages = (saved / "figures.pdf").read_bytes()
  assert pages.startswith(b"%PDF") and pages.count(b"/Type /Page ") == len(gallery.PICTURES)


def test_vector_files_ask_nobody_and_carry_both_themes(saved):
  for path in sorted(saved.glob("*.svg")):
    text = path.read_text()
    fetched = re.findall(
      r'(?:href|src)="(?!#)[^"]*"|url\((?!#)[^)]*\)|@import|<!DOCTYPE|<script|<image', text
    )
    assert fetched == [], path.name
    assert f"fill: {theme.INK}" in text and f"{{fill:{theme.DARK[theme.INK]}!important}}" in text
    drawn = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", text.split("</style>", 1)[1]))
    assert drawn <= set(theme.DARK), f"{path.name}: colours without a dark one: {drawn - set(theme.DARK)}"


def test_same_table_same_bytes(saved, tmp_path):
  for name in ("isoflop", "contours"):
    figure = gallery.PICTURES[name].draw(predicted())
    theme.finish(figure, fit_report.provenance(predicted()))
    theme.save_pictures(figure, tmp_path / name, png=name == gallery.COVER)
    for path in sorted(tmp_path.glob(f"{name}.*")):
      assert path.read_bytes() == (saved / path.name).read_bytes(), path.name


def test_pictures_of_an_earlier_fit_are_removed(tmp_path, monkeypatch):
  keep = {"residuals": gallery.PICTURES["residuals"], "forecast": gallery.PICTURES["forecast"]}
  monkeypatch.setattr(gallery, "PICTURES", keep)
  (tmp_path / "forecast.svg").write_text("<svg>of an earlier fit</svg>")
  plain = dataclasses.replace(predicted(), forecast=None, outcome=None)
  assert list(gallery.save(plain, tmp_path, "footer")) == ["residuals"]
  assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.pdf", "residuals.svg"]


def test_footer_names_the_table_and_the_revision():
  text = fit_report.provenance(predicted())
  assert predicted().fitted.table_sha256 in text and "git 0123456789ab" in text and "20 runs" in text


@pytest.mark.parametrize(
  ("budgets", "factors", "said"),
  [
    (BUDGETS[:2], (1.5, 2, 3, 5), "none"),
    (BUDGETS[:2], (0.2, 0.4, 0.7, 1, 1.6, 3, 5), "two"),
  ],
)
def test_awkward_tables_are_drawn_and_warned_of(tmp_path, budgets, factors, said):
  rows = isoflop(DRIVING, budgets, factors, 0.001)
  found = analysis.analyse([write(tmp_path / "runs.csv", rows)], "huber", 0, 0, 0)
  if said == "none":
    assert found.iso.params is None and "has no interior minimum" in " ".join(cautions.of(found))
  assert any("a line through them" in text for text in cautions.of(found))
  drawn = {name for name, picture in gallery.PICTURES.items() if picture.draw(found) is not None}
  assert {"isoflop", "optima", "contours", "residuals"} <= drawn
  assert drawn.isdisjoint({"forecast", "clouds", "envelope"})
  said = " ".join(text for section in fit_report.sections(found, tmp_path) for text in section.paragraphs)
  assert "Approach 1 needs training curves" in said and "Without draws there are no clouds" in said
