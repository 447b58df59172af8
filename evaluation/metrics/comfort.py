"""Comfort: accelerations, jerks and yaw rates of a driven course, and whether passengers would accept them.

From speed v and heading h at equal steps, with two derivatives by fixed filters, d the shorter, D the longer,

  yaw rate w = d h (unwrapped)      longitudinal acceleration a = d v      lateral acceleration = v w
  yaw acceleration = D w            longitudinal jerk = D a                jerk = D of the acceleration's size.

Both are filters of A. Savitzky and M. Golay (Analytical Chemistry, 1964): a parabola fitted to the frames around, 5 for
d and 15 for D, and its slope in the middle. Frames without whole windows, 2 and 9 at both ends, are not judged: a slope
at the end of a window is mostly noise. At 10 Hz the windows span 0.4 s and 1.4 s: d keeps 79 % of a swing at 1 Hz and
34 % at 2 Hz, D next to nothing of either. The filters decide which courses are comfortable, so they are no option, and
at other rates comfort is not defined. With 15 frames for both, speed that swings by 1 m/s once a second, 6 m/s^2, would
pass. Bounds as in nuPlan (H. Caesar et al., arXiv:2106.11810) and NAVSIM (D. Dauner et al., NeurIPS 2024,
arXiv:2406.15349), whose windows have other lengths and reach the ends; all are strict. How far two plans may
differ is as in NAVSIM 2 (W. Cao et al., CoRL 2025, arXiv:2506.04218). All numbers were compared with the constants of
its scorer, pdm_comfort_metrics.py.

A course is valid from its first frame on for n frames; with fewer than 19 it has no jerk, and no comfort: NaN.
"""

import jax
import jax.numpy as jnp

SHORT, LONG, STEP = 5, 15, 0.1  # frames of d and of D; s between them
LEAST = SHORT + LONG - 1  # frames of a course that has a jerk

BOUNDS = {  # below and above
  "longitudinal_acceleration": (-4.05, 2.40),  # m/s^2
  "lateral_acceleration": (-4.89, 4.89),  # m/s^2
  "jerk": (-8.37, 8.37),  # m/s^3
  "longitudinal_jerk": (-4.13, 4.13),  # m/s^3
  "yaw_rate": (-0.95, 0.95),  # rad/s
  "yaw_acceleration": (-1.93, 1.93),  # rad/s^2
}

# Root mean squares of the difference between two plans, units as above; and the frames at their ends without windows.
CONSISTENCY = {"acceleration": 0.7, "jerk": 0.5, "yaw_rate": 0.1, "yaw_acceleration": 0.1}
_WITHOUT = {
  "acceleration": SHORT - 1,
  "jerk": LEAST - 1,
  "yaw_rate": SHORT - 1,
  "yaw_acceleration": LEAST - 1,
}


def derivative(value_T: jax.Array, known_T: jax.Array, dt: float, frames: int) -> tuple[jax.Array, jax.Array]:
  """[T] per second by a window of `frames`, zero where that is not known throughout; bool [T], where it is.

  The slope of the fitted parabola in the middle is that of the fitted line: sum_i i y_i / sum_i i^2.
  """
  half = frames // 2
  value_T, known_T = (jnp.pad(part, half) for part in (jnp.where(known_T, value_T, 0.0), known_T))
  steps = len(value_T) - 2 * half
  rise_T = sum(
    i * (value_T[half + i : half + i + steps] - value_T[half - i : half - i + steps])
    for i in range(1, half + 1)
  )
  whole_T = jnp.stack([known_T[i : i + steps] for i in range(frames)]).all(0)
  run = 2 * sum(i**2 for i in range(1, half + 1)) * dt
  return jnp.where(whole_T, rise_T / run, 0.0), whole_T


def course(speed_T: jax.Array, heading_T: jax.Array, count: jax.Array, dt: float) -> dict[str, jax.Array]:
  """The quantities of BOUNDS and "acceleration" (its size), [T] each, of the first `count` frames.

  Zero at frames that are not judged; NaN throughout where `count` is less than 19.
  """
  there_T = jnp.arange(len(speed_T)) < count
  turned_T = jnp.unwrap(jnp.where(there_T, heading_T, 0.0))
  yaw_rate_T, inner_T = derivative(turned_T, there_T, dt, SHORT)
  ahead_T, _ = derivative(speed_T, there_T, dt, SHORT)
  aside_T = jnp.where(inner_T, speed_T, 0.0) * yaw_rate_T
  size_T = jnp.hypot(ahead_T, aside_T)
  found = {
    "longitudinal_acceleration": ahead_T,
    "lateral_acceleration": aside_T,
    "jerk": derivative(size_T, inner_T, dt, LONG)[0],
    "longitudinal_jerk": derivative(ahead_T, inner_T, dt, LONG)[0],
    "yaw_rate": yaw_rate_T,
    "yaw_acceleration": derivative(yaw_rate_T, inner_T, dt, LONG)[0],
    "acceleration": size_T,
  }
  return {name: jnp.where(count >= LEAST, value_T, jnp.nan) for name, value_T in found.items()}


def comfortable(quantities: dict[str, jax.Array]) -> dict[str, jax.Array]:
  """Name of BOUNDS to 1.0 where all frames are within them, else 0.0; NaN where one is NaN."""
  found = {}
  for name, (low, high) in BOUNDS.items():
    value_T = quantities[name]
    found[name] = jnp.where(jnp.isnan(value_T).any(), jnp.nan, ((value_T > low) & (value_T < high)).all())
  return found


def consistent(before: dict[str, jax.Array], after: dict[str, jax.Array], count: jax.Array) -> jax.Array:
  """1.0 where two plans of the same `count` frames differ little (CONSISTENCY), else 0.0; NaN where unknown.

  Both are as `course` gives them, of the frames that two consecutive plans have in common.
  """
  worst = []
  for name, bound in CONSISTENCY.items():
    squared = ((after[name] - before[name]) ** 2).sum() / jnp.maximum(count - _WITHOUT[name], 1)
    worst.append(jnp.sqrt(squared) / bound)
  largest = jnp.max(jnp.stack(worst))
  return jnp.where(jnp.isnan(largest), jnp.nan, (largest <= 1).astype(largest.dtype))
