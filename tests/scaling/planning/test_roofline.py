"""The roofline: links of a group, the busiest axis, what limits a step."""

import numpy as np
import pytest

from scaling.planning import roofline, slices
from scaling.planning.program_cost import Collective

POD = slices.parse("v5e:16x16")
PLACES = np.stack(np.meshgrid(np.arange(16), np.arange(16), indexing="ij"), -1).reshape(256, 2)


@pytest.mark.parametrize(
  ("members", "links"),
  [
    ([(0, y) for y in range(16)], (0, 2)),  # a ring
    ([(0, y) for y in range(4)], (0, 1)),  # a line: its end has one neighbour
    ([(0, y) for y in range(0, 16, 4)], (0, 0.5)),  # every fourth chip of a ring, which four groups share
    ([(x, y) for x in range(16) for y in range(16)], (2, 2)),  # the whole torus
    ([(3, 3)], (0, 0)),
  ],
)
def test_links_of_a_group(members, links):
  np.testing.assert_allclose(roofline.group_links(POD, np.array(members)), links)


def test_an_all_reduce_over_a_ring_takes_what_the_textbook_says():
  """2 (g - 1) / g bytes over two links of 50 GB/s each."""
  group = tuple(range(16))  # x = 0
  seconds = roofline.network_seconds(POD, PLACES, (Collective("all-reduce", 1.0, 1e9, group),))
  assert seconds == pytest.approx(2 * 15 / 16 * 1e9 / 100e9)


def test_axes_work_at_the_same_time_and_one_axis_adds_up():
  down, across = tuple(range(0, 256, 16)), tuple(range(16))
  one = Collective("all-gather", 1.0, 1e6, across)
  other = Collective("all-gather", 1.0, 1e6, down)
  alone = roofline.network_seconds(POD, PLACES, (one,))
  assert roofline.network_seconds(POD, PLACES, (one, other)) == pytest.approx(alone)
  assert roofline.network_seconds(POD, PLACES, (one, one)) == pytest.approx(2 * alone)
  assert roofline.network_seconds(POD, PLACES, ()) == 0


def test_the_slowest_resource_sets_the_bound():
  chip = POD.chip
  model = 0.6 * chip.flops * POD.chips
  bound = roofline.bound(POD, model, 0.8 * chip.flops, 0.5 * chip.hbm_rate, 1.2)
  assert (bound.compute, bound.memory) == pytest.approx((0.8, 0.5))
  assert bound.limit == "network" and bound.seconds == 1.2 and bound.mfu == pytest.approx(0.5)
  recomputing = roofline.bound(POD, model, 0.8 * chip.flops, 0.5 * chip.hbm_rate, 0.0)
  assert recomputing.limit == "compute" and recomputing.mfu == pytest.approx(0.75)
