"""Akima's interpolation, and the minimum it puts between measured sizes.

Akima (Journal of the ACM, 1970): a cubic between neighbouring points whose slope at each point is the mean of the
slopes beside it, weighted so that a jump on one side leaves the other flat. It passes through every point, as suits
profiles that are known well; a parabola averages noise but imposes its shape. Porian et al. (arXiv:2406.19146) find
their minima of IsoFLOP profiles in this way.
"""

import itertools

import numpy as np

CELLS = 25  # between two neighbouring sizes
LEAST_POINTS = 3


def slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """dy/dx at every point; x [K] ascending, y [..., K]."""
  inner = np.diff(y) / np.diff(x)
  first = 2 * inner[..., :1] - inner[..., 1:2] if inner.shape[-1] > 1 else inner[..., :1]
  before = 2 * first - inner[..., :1]
  last = 2 * inner[..., -1:] - inner[..., -2:-1] if inner.shape[-1] > 1 else inner[..., -1:]
  after = 2 * last - inner[..., -1:]
  m = np.concatenate([before, first, inner, last, after], -1)
  left, right = np.abs(np.diff(m))[..., 2:], np.abs(np.diff(m))[..., :-2]
  total = left + right
  scale = np.max(total, -1, keepdims=True)
  smooth = total > 1e-9 * scale
  weighted = (left * m[..., 1:-2] + right * m[..., 2:-1]) / np.where(smooth, total, 1.0)
  return np.where(smooth, weighted, (m[..., 1:-2] + m[..., 2:-1]) / 2)


def curve(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
  """The interpolation of y [..., K] over x [K] at `at` [G] within x; [..., G]."""
  t = slopes(x, y)
  k = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
  h, s = x[k + 1] - x[k], at - x[k]
  rise = (y[..., k + 1] - y[..., k]) / h
  second = (3 * rise - 2 * t[..., k] - t[..., k + 1]) / h
  third = (t[..., k] + t[..., k + 1] - 2 * rise) / h**2
  return y[..., k] + s * (t[..., k] + s * (second + s * third))


def minimum(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """(where, how low) the curve is least, each [...]; at an end of x where it only falls towards it.

  Looked for on a grid of CELLS cells between neighbours, then refined by a parabola through three points of it.
  """
  grid = np.concatenate([np.linspace(a, b, CELLS, endpoint=False) for a, b in itertools.pairwise(x)])
  grid = np.append(grid, x[-1])
  values = curve(x, y, grid)
  best = values.argmin(-1)
  k = np.clip(best, 1, len(grid) - 2)
  left, middle, right = (np.take_along_axis(values, (k + i)[..., None], -1)[..., 0] for i in (-1, 0, 1))
  h, g = grid[k] - grid[k - 1], grid[k + 1] - grid[k]
  down, up = (middle - left) / h, (right - middle) / g
  bend = np.where(up > down, (up - down) / (h + g), 1.0)  # falls, then rises, unless at an end
  move = -(down + bend * h) / (2 * bend)
  inside = (best == k) & (up > down)
  at = np.where(inside, grid[k] + move, grid[best])
  lowest = np.where(inside, middle - bend * move**2, np.take_along_axis(values, best[..., None], -1)[..., 0])
  return at, lowest
