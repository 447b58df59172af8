"""Comfort: the filter against scipy, and courses whose accelerations are known."""

import jax
import numpy as np
import pytest
from scipy.signal import savgol_filter

from evaluation import comfort

DT = 0.1
TIME = np.arange(60) * DT


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def judged(speed, heading, count=60):
  return comfort.comfortable(_COURSE(np.asarray(speed, float), np.asarray(heading, float), count))


_COURSE = jax.jit(lambda speed, heading, count: comfort.course(speed, heading, count, DT))
_DERIVATIVE = jax.jit(lambda value, count: comfort.derivative(value, count, DT))


@pytest.mark.parametrize("count", [60, 31, 15])
def test_the_filter_is_the_one_of_savitzky_and_golay(count):
  value = np.random.default_rng(count).normal(size=60)
  expected = savgol_filter(value[:count], comfort.FRAMES, 2, deriv=1, delta=DT, mode="interp")
  value[count:] = np.nan
  found = _DERIVATIVE(value, count)
  np.testing.assert_allclose(found[:count], expected, atol=1e-10)
  assert (found[count:] == 0).all()


def test_too_few_frames_have_no_derivative():
  assert np.isnan(_DERIVATIVE(TIME, 14)).all()
  assert np.isnan(list(judged(TIME, TIME, 14).values())).all()


def test_quantities_of_known_courses():
  braking = _COURSE(20 - 3 * TIME, 0 * TIME, 60)
  np.testing.assert_allclose(braking["longitudinal_acceleration"], -3, atol=1e-9)
  np.testing.assert_allclose(braking["jerk"], 0, atol=1e-7)
  circle = _COURSE(
    0 * TIME + 10, 3 + 0.4 * TIME - 2 * np.pi * (TIME > 0.3), 60
  )  # its heading jumps by a turn
  np.testing.assert_allclose(circle["yaw_rate"], 0.4, atol=1e-9)
  np.testing.assert_allclose(circle["lateral_acceleration"], 4, atol=1e-9)
  np.testing.assert_allclose(circle["acceleration"], 4, atol=1e-9)
  surging = _COURSE(10 + 0.5 * TIME**2, 0.3 * TIME**2, 60)
  np.testing.assert_allclose(
    surging["longitudinal_jerk"][8:-8], 1, atol=1e-9
  )  # exact but where windows meet ends
  np.testing.assert_allclose(surging["yaw_acceleration"][8:-8], 0.6, atol=1e-9)


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
  assert broken(0 * TIME + 1, 0.3 * np.sin(3 * TIME)) == {"yaw_acceleration"}
  assert broken(15 + 0.8 * np.sin(3 * TIME), 0 * TIME) == {"longitudinal_jerk"}
  assert broken(0 * TIME + 25, 0.07 * np.sin(2 * TIME)) == {"jerk"}  # a swerve


def test_frames_that_were_not_driven_do_not_count_and_nan_is_shown():
  speed = np.where(TIME < 3, 10, np.nan)
  assert all(float(one) == 1 for one in judged(speed, 0 * TIME, 30).values())
  assert np.isnan(float(judged(speed, 0 * TIME, 31)["longitudinal_acceleration"]))


def test_plans_are_consistent_if_they_differ_little():
  one, same, other = (_COURSE(10 + rate * TIME, 0 * TIME, 60) for rate in (0.0, 0.69, 0.71))
  verdicts = [float(comfort.consistent(one, plan, 60)) for plan in (one, same, other)]
  assert verdicts == [1, 1, 0]
  assert np.isnan(float(comfort.consistent(one, _COURSE(TIME, TIME, 14), 14)))
