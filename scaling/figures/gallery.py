"""All figures of a fit: how each is drawn, what it shows in words, and how to read it."""

import dataclasses
import pathlib
from collections.abc import Callable

from matplotlib.figure import Figure

from scaling.analysis import Analysis
from scaling.figures import (
  clouds,
  contours,
  envelope,
  forecast,
  frontier,
  optima,
  residuals,
  stability,
  theme,
)


@dataclasses.dataclass(frozen=True)
class Picture:
  """Attributes: `draw` makes it, or None where the fit has nothing to show; `alt` says what is seen, for those who do
  not see it; `caption` how to read it."""

  draw: Callable[[Analysis], Figure | None]
  alt: str
  caption: str


PAGES = "figures.pdf"
COVER = "isoflop"  # the one that is shown around
PICTURES = {
  "forecast": Picture(
    forecast.draw,
    "Predicted loss of the larger run by each estimator, the 95% interval of the chosen one, and the measured loss.",
    "Orange: what the chosen estimator said, with its 95% interval (shaded). Dots and thin line: what was measured."
    " Dashed: where the fitted runs ended.",
  ),
  "isoflop": Picture(
    frontier.draw,
    "Held-out loss over model size at each compute budget, and the least loss over compute.",
    "a: every curve holds training compute fixed; small models see more tokens, large ones fewer. Small dots are runs,"
    " large dots the mean over seeds, diamonds the minima. b: the loss at the minima over compute, with the power law"
    " through them and its 95% band, and the least loss that the parametric law gives. Triangles on the frame mark"
    " sizes whose loss lies beyond it.",
  ),
  "optima": Picture(
    optima.draw,
    "Compute-optimal size and data over compute, with power laws.",
    "Diamonds: minima of the IsoFLOP profiles with 95% intervals, from redrawn noise; dashed: the power law through"
    " them with its 95% band; solid: the optimum of the parametric law.",
  ),
  "contours": Picture(
    contours.draw,
    "Contours of equal loss over parameters and tokens, with the runs, lines of equal compute and the frontier.",
    "Both axes are logarithmic. Moving along a coloured line spends the same compute differently; it touches the"
    " lowest loss where the thick line, the frontier, crosses it.",
  ),
  "residuals": Picture(
    residuals.draw,
    "Measured over fitted loss of the parametric law, for every run, over size, data and compute.",
    "One dot per run, in the colour of its budget; the band is one root mean square. A trend would mean that the law"
    " has the wrong shape.",
  ),
  "clouds": Picture(
    clouds.draw,
    "Bootstrap draws of the exponents alpha and beta, and of the allocation exponent a and the irreducible loss E.",
    "Every dot is the law of one resample of the runs. A round cloud means that two coefficients are known apart from"
    " each other; a long thin one that they trade off. Bars along the axes are the 95%"
    " intervals of the table: of the draws, corrected for bias and for the number of runs.",
  ),
  "likelihood": Picture(
    clouds.draw_likelihood,
    "Profile likelihoods of alpha, beta, the allocation exponent a and the irreducible loss E.",
    "How much worse the fit becomes when one coefficient is held at a value and all others adapt, in standard"
    " deviations. The 95% interval is where the curve lies below the dashed line (1.96 in a large table); a curve that"
    " stays flat is a coefficient that the table does not settle.",
  ),
  "left_out": Picture(
    stability.draw_left_out,
    "Error of each estimator at each compute budget, when that budget is left out of the fit.",
    "Each budget was left out in turn, and its loss predicted from the others.",
  ),
  "drift": Picture(
    stability.draw_drift,
    "The allocation exponent a of fits to the smallest and to the largest budgets.",
    "An exponent that walks as budgets are added or dropped describes the window rather than the law.",
  ),
  "envelope": Picture(
    envelope.draw,
    "Training curves over compute with their lower envelope, and the size that is best at each compute.",
    "a: the training loss of every run along its training, smoothed as the fit does it. b: the size of the run that is"
    " lowest at each compute, and the power law through it. Points won by the smallest or the largest size are left"
    " out: the optimum may lie beyond.",
  ),
}  # fmt: skip


def save(found: Analysis, out: pathlib.Path, footer: str) -> dict[str, Picture]:
  """Draws what there is into `out` and returns it: an SVG each, the cover as PNG too, and all as pages of one PDF.

  Pictures of an earlier fit that this one has no room for are removed.
  """
  made = {}
  for name, picture in PICTURES.items():
    figure = picture.draw(found)
    if figure is None:
      (out / f"{name}.svg").unlink(missing_ok=True)
      continue
    theme.finish(figure, footer)
    theme.save_pictures(figure, out / name, png=name == COVER)
    made[name] = figure
  theme.save_pages(list(made.values()), out / PAGES)
  return {name: PICTURES[name] for name in made}
