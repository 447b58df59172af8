"""Comfort: the filter against scipy, and courses whose accelerations are known."""

import jax
import numpy as np
import pytest
from scipy.signal import savgol_filter

from evaluation.metrics import comfort

DT = 0.1
TIME = np.arange(60) * DT


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def judged(speed, heading, count=60):
  return comfort.comfortable(_COURSE(np.asarray(speed, float), np.asarray(heading, float), count))


_COURSE = jax.jit(lambda speed, heading, count: comfort.course(speed, heading, count, DT))
_DERIVATIVE = jax.jit(
  lambda value, known, frames: comfort.derivative(value, known, DT, frames), static_argnums=2
)


@pytest.mark.parametrize(("frames", "count"), [(5, 60), (5, 5), (15, 60), (15, 31), (15, 14)])
def test_the_filter_is_the_one_of_savitzky_and_golay_where_windows_are_whole(frames, count):
  value = np.random.default_rng(count).normal(size=60)
  known, inner = np.arange(60) < count, (np.arange(60) >= frames // 2) & (np.arange(60) < count - frames // 2)
  value[count:] = np.nan
  found, where = _DERIVATIVE(value, known, frames)
  np.testing.assert_array_equal(where, inner)
  assert (found[~inner] == 0).all()
  if inner.any():
    expected = savgol_filter(value[:count], frames, 2, deriv=1, delta=DT)
    np.testing.assert_allclose(found[inner], expected[inner[:count]], atol=1e-10)


def test_too_few_frames_have_no_comfort():
  assert np.isnan(list(judged(TIME, TIME, comfort.LEAST - 1).values())).all()
  assert np.isfinite(list(judged(TIME, TIME, comfort.LEAST).values())).all()


@pytest.mark.parametrize("hertz", [1, 2])
def test_the_filters_let_no_swing_pass(hertz):
  """By 1 m/s: 6 and 12 m/s^2, of which a window of 15 frames would leave 0.2 and 0.5 m/s^2."""
  swing = 10 + np.sin(2 * np.pi * hertz * TIME + 0.7)
  assert float(judged(swing, 0 * TIME)["longitudinal_acceleration"]) == 0
  kept = np.abs(_COURSE(swing, 0 * TIME, 60)["longitudinal_acceleration"]).max() / (2 * np.pi * hertz)
  assert kept == pytest.approx({1: 0.79, 2: 0.34}[hertz], abs=0.02)


def test_quantities_of_known_courses():
  inner, innermost = slice(2, -2), slice(9, -9)
  braking = _COURSE(20 - 3 * TIME, 0 * TIME, 60)
  np.testing.assert_allclose(braking["longitudinal_acceleration"][inner], -3, atol=1e-9)
  np.testing.assert_allclose(braking["jerk"], 0, atol=1e-7)
  circle = _COURSE(
    0 * TIME + 10, 3 + 0.4 * TIME - 2 * np.pi * (TIME > 0.3), 60
  )  # its heading jumps by a turn
  np.testing.assert_allclose(circle["yaw_rate"][inner], 0.4, atol=1e-9)
  np.testing.assert_allclose(circle["lateral_acceleration"][inner], 4, atol=1e-9)
  np.testing.assert_allclose(circle["acceleration"][inner], 4, atol=1e-9)
  surging = _COURSE(10 + 0.5 * TIME**2, 0.3 * TIME**2, 60)
  np.testing.assert_allclose(surging["longitudinal_jerk"][innermost], 1, atol=1e-9)
  np.testing.assert_allclose(surging["yaw_acceleration"][innermost], 0.6, atol=1e-9)
  assert (surging["longitudinal_jerk"][:9] == 0).all() and (surging["longitudinal_jerk"][-9:] == 0).all()


def test_each_bound_is_broken_by_the_course_that_is_made_for_it():
  calm = judged(0 * TIME + 10, 0 * TIME)
  assert set(calm) == set(comfort.BOUNDS) and all(float(one) == 1 for one in calm.values())

  def broken(speed, heading):
    return {name for name, one in judged(speed, heading).items() if float(one) == 0}

  assert broken(5 + 2.5 * TIME, 0 * TIME) == {"longitudinal_acceleration"}
  assert broken(5 + 2.3 * TIME, 0 * TIME) == set()
  # Braking may be harder than starting.
  assert broken(30 - 4.1 * TIME, 0 * TIME) == {"longitudinal_acceleration"}
  assert broken(30 - 4.0 * TIME, 0 * TIME) == set()
  assert broken(0 * TIME + 10, 0.5 * TIME) == {"lateral_acceleration"}
  assert broken(0 * TIME + 1, -1.0 * TIME) == {"yaw_rate"}
  assert broken(0 * TIME + 1, 0.4 * np.sin(3 * TIME)) == {"yaw_acceleration", "yaw_rate"}
  harder = np.interp(TIME, [0, 2.9, 3.1, 6], [2.2, 2.2, -3.9, -3.9])
  assert broken(10 + np.cumsum(harder) * DT, 0 * TIME) == {"longitudinal_jerk"}
  # What the other bounds leave of accelerations does not reach the bound of their size's jerk alone.
  crash = np.interp(TIME, [0, 2.9, 3.1, 6], [0, 0, -9, -9])
  assert broken(40 + np.cumsum(crash) * DT, 0 * TIME) == {
    "longitudinal_acceleration",
    "longitudinal_jerk",
    "jerk",
  }


def test_frames_that_were_not_driven_do_not_count_and_nan_is_shown():
  speed = np.where(TIME < 3, 10, np.nan)
  assert all(float(one) == 1 for one in judged(speed, 0 * TIME, 30).values())
  assert np.isnan(float(judged(speed, 0 * TIME, 31)["longitudinal_acceleration"]))


def test_plans_are_consistent_if_they_differ_little():
  one, same, other = (_COURSE(10 + rate * TIME, 0 * TIME, 60) for rate in (0.0, 0.69, 0.71))
  verdicts = [float(comfort.consistent(one, plan, 60)) for plan in (one, same, other)]
  assert verdicts == [1, 1, 0]
  assert np.isnan(float(comfort.consistent(one, _COURSE(TIME, TIME, 14), 14)))
