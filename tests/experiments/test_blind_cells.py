"""What cells cost without looking, against sums by hand and an integral by steps."""

import numpy as np
import pytest

from benchmarks.blind_cells import blind
from benchmarks.blind_reconstruction import saw


def test_nats_and_accuracy_of_frequencies_are_those_counted_by_hand():
  train = np.zeros((1, 4, 1, 2), int)
  train[0, :3, 0, 1] = 1  # the first place is always 0, the second one 1 three times in four
  judged = np.array([0, 1]).reshape(1, 1, 1, 2)
  found = blind(train, judged)
  # Of eleven classes, each counted once more than it was seen.
  assert found["place"]["nats"] == pytest.approx(-(np.log(5 / 15) + np.log(4 / 15)) / 2)
  assert found["constant"]["nats"] == pytest.approx(-(np.log(6 / 19) + np.log(4 / 19)) / 2)
  assert found["place"]["accuracy"] == 1 and found["constant"]["accuracy"] == 0.5


def test_fields_cost_flow_matching_what_an_integral_by_steps_says():
  rng = np.random.default_rng(0)
  train, judged = (rng.choice(3, (50, 2, 1, 1), p=p) for p in ((0.2, 0.3, 0.5), (0.3, 0.3, 0.4)))
  share = (np.bincount(train.ravel(), minlength=11) + 1) / (train.size + 11)
  truth = np.bincount(judged.ravel(), minlength=11) / judged.size
  mean, believed = 2 * share - 1, 4 * share * (1 - share)
  second = truth * (1 - mean) ** 2 + (1 - truth) * (1 + mean) ** 2  # E (x1 - mean)^2
  t = (np.arange(20_000) + 0.5)[:, None] / 20_000
  slope = (t * believed - (1 - t)) / ((1 - t) ** 2 + t**2 * believed)
  error = second * (1 - slope * t) ** 2 + (1 + slope * (1 - t)) ** 2
  found = blind(train, judged)["place"]
  assert found["velocity"] == pytest.approx((1 + second).mean())
  assert found["denoiser"] == pytest.approx(error.mean(), rel=1e-5)


def test_a_clip_without_echoes_is_not_one_that_the_lidar_saw():
  echo = np.zeros((3, 2, 4), bool)
  echo[0, :, 1], echo[1, 0, 2] = True, True  # both sweeps, one of two, none
  batch = {"echo_BxTxP": echo, "real_B": np.ones(3, bool)}
  assert saw("lidar", batch).tolist() == [True, False, False]
  assert saw("camera", batch).all()
