"""Sensor dropout: how often each sensor stays, and that a clip never loses its last one."""

import jax
import numpy as np
import pytest

from objectives.sensor_dropout import drop_sensors

CLIPS = 20_000


@pytest.mark.parametrize(("sensors", "rate"), [(4, 0.5), (3, 0.8), (2, 0.2), (1, 0.9)])
def test_each_sensor_stays_as_often_as_it_should(sensors, rate):
  """1 - rate, and a share of the clips that would lose all: rate^M / M. Within 5 standard errors."""
  kept = np.asarray(drop_sensors(jax.random.key(0), np.ones((CLIPS, sensors), bool), rate))
  assert kept.any(1).all()
  expected = 1 - rate + rate**sensors / sensors
  error = np.sqrt(expected * (1 - expected) / CLIPS)
  assert np.abs(kept.mean(0) - expected).max() <= 5 * error


def test_what_a_clip_does_not_have_stays_absent():
  sensed = np.random.default_rng(0).random((CLIPS, 3)) < 0.4
  kept = np.asarray(drop_sensors(jax.random.key(1), sensed, 0.7))
  assert not (kept & ~sensed).any()
  np.testing.assert_array_equal(kept.any(1), sensed.any(1))
  only = sensed.sum(1) == 1
  np.testing.assert_array_equal(kept[only], sensed[only])


def test_at_rate_zero_nothing_is_dropped():
  sensed = np.random.default_rng(0).random((100, 3)) < 0.4
  np.testing.assert_array_equal(drop_sensors(jax.random.key(2), sensed, 0.0), sensed)
