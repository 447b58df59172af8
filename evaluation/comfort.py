"""Comfort: accelerations, jerks and yaw rates of a driven course, and whether passengers would accept them.

From speed v and heading h at equal steps, D being the derivative of the fixed filter below,

  yaw rate w = D h (unwrapped)      longitudinal acceleration = D v      lateral acceleration = v w
  yaw acceleration = D w            longitudinal jerk = D D v            jerk = D of the acceleration's size.

D is the filter of A. Savitzky and M. Golay (Analytical Chemistry, 1964): a parabola fitted to 15 frames, its slope in
the middle; near both ends the slope of the first or last window's parabola. At 10 Hz that is 1.5 s. The filter decides
which courses are comfortable, so it is no option, and at other rates comfort is not defined. Bounds as in nuPlan (H.
Caesar et al., arXiv:2106.11810) and NAVSIM (D. Dauner et al., NeurIPS 2024, arXiv:2406.15349), which smooth with
windows of several lengths; all are strict.

A course is valid from its first frame on for n frames; fewer than 15 have no derivative, and no comfort: NaN.
"""

import jax
import jax.numpy as jnp
import numpy as np

FRAMES, STEP = 15, 0.1  # of a window; s between them

BOUNDS = {  # below and above
  "longitudinal_acceleration": (-4.05, 2.40),  # m/s^2
  "lateral_acceleration": (-4.89, 4.89),  # m/s^2
  "jerk": (-8.37, 8.37),  # m/s^3
  "longitudinal_jerk": (-4.13, 4.13),  # m/s^3
  "yaw_rate": (-0.95, 0.95),  # rad/s
  "yaw_acceleration": (-1.93, 1.93),  # rad/s^2
}

# Root mean squares of the difference between two plans, as in NAVSIM 2.
CONSISTENCY = {"acceleration": 0.7, "jerk": 0.5, "yaw_rate": 0.1, "yaw_acceleration": 0.1}


def _slopes() -> np.ndarray:
  """float64 [place in the window, frame of it]: weights that give the slope of the fitted parabola per frame."""
  at = np.arange(FRAMES) - FRAMES // 2
  fit = np.linalg.pinv(np.stack([at**0, at, at**2], -1).astype(np.float64))  # coefficients from values
  return fit[1] + 2 * at[:, None] * fit[2]


_SLOPES = _slopes()


def derivative(value_T: jax.Array, count: jax.Array, dt: float) -> jax.Array:
  """[T]: D above, per second, of the first `count` frames; zero beyond them, NaN where count < 15."""
  at_T = jnp.arange(len(value_T))
  first_T = jnp.clip(at_T - FRAMES // 2, 0, jnp.maximum(count - FRAMES, 0))
  window_TxW = value_T[jnp.minimum(first_T[:, None] + jnp.arange(FRAMES)[None], len(value_T) - 1)]
  weight_TxW = jnp.asarray(_SLOPES, value_T.dtype)[jnp.minimum(at_T - first_T, FRAMES - 1)]
  slope_T = (window_TxW * weight_TxW).sum(-1) / dt
  return jnp.where(count >= FRAMES, jnp.where(at_T < count, slope_T, 0.0), jnp.nan)


def course(speed_T: jax.Array, heading_T: jax.Array, count: jax.Array, dt: float) -> dict[str, jax.Array]:
  """The quantities of BOUNDS and "acceleration" (its size), [T] each, zero beyond the first `count` frames."""
  there_T = jnp.arange(len(speed_T)) < count
  yaw_rate = derivative(jnp.unwrap(jnp.where(there_T, heading_T, 0.0)), count, dt)
  ahead, aside = derivative(speed_T, count, dt), jnp.where(there_T, speed_T, 0.0) * yaw_rate
  size = jnp.hypot(ahead, aside)
  return {
    "longitudinal_acceleration": ahead,
    "lateral_acceleration": aside,
    "jerk": derivative(size, count, dt),
    "longitudinal_jerk": derivative(ahead, count, dt),
    "yaw_rate": yaw_rate,
    "yaw_acceleration": derivative(yaw_rate, count, dt),
    "acceleration": size,
  }


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
    squared = ((after[name] - before[name]) ** 2).sum() / jnp.maximum(count, 1)
    worst.append(jnp.sqrt(squared) / bound)
  largest = jnp.max(jnp.stack(worst))
  return jnp.where(jnp.isnan(largest), jnp.nan, (largest <= 1).astype(largest.dtype))
