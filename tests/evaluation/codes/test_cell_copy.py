"""Views copied to a later pose: whole cells and quarter turns are exact."""

import numpy as np

from evaluation.codes.cell_copy import moved_copy
from tests.data.random_clips import tiny_config

CONFIG = tiny_config(grid=8, cell_m=2.0, rear_m=8.0)  # the ego in the middle
CELLS = np.random.default_rng(0).integers(0, 11, (8, 8))
START = np.array([100.0, -40.0, 0.3])


def test_standing_still_changes_nothing():
  np.testing.assert_array_equal(moved_copy(CELLS, START, START, CONFIG), CELLS)


def test_driving_ahead_brings_the_rows_nearer_and_keeps_the_last_seen():
  ahead = START + [4.0 * np.cos(0.3), 4.0 * np.sin(0.3), 0.0]  # two cells
  found = moved_copy(CELLS, START, ahead, CONFIG)
  np.testing.assert_array_equal(found[:6], CELLS[2:])
  np.testing.assert_array_equal(found[6:], np.repeat(CELLS[-1:], 2, 0))


def test_a_quarter_turn_to_the_left_turns_the_view_to_the_right():
  """What was to the left (the last columns) lies ahead (the last rows)."""
  found = moved_copy(CELLS, START, START + [0.0, 0.0, np.pi / 2], CONFIG)
  for row in range(8):
    for column in range(8):
      assert found[row, column] == CELLS[7 - column, row]
