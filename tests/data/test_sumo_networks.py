"""Networks: bends and limits in closed form, sides of traffic, and nets read back as lanes."""

import numpy as np
import pytest

from data import sumo_map, sumo_networks, sumo_streets
from data.schema import LaneType
from data.sumo_plan import LATERAL, Plan, arc, bent, speed_in_bend

NET = """<?xml version="1.0"?>
<!-- written on a certain day -->
<net>
  <edge id=":j_0" function="internal"><lane id=":j_0_0" index="0" speed="6" length="5" width="3"
    shape="100,0 105,0"/></edge>
  <edge id=":j_1" function="internal"><lane id=":j_1_0" index="0" speed="4" length="6" width="3"
    shape="100,3 102,4 103,6"/></edge>
  <edge id=":j_c0" function="crossing"><lane id=":j_c0_0" index="0" allow="pedestrian" speed="1.4" length="8"
    shape="101,-4 101,4"/></edge>
  <edge id=":j_w0" function="walkingarea"><lane id=":j_w0_0" index="0" allow="pedestrian" speed="1.4"
    length="2" shape="0,0 1,0 1,1"/></edge>
  <edge id="in" from="gate" to="j"><lane id="in_0" index="0" allow="pedestrian" speed="2" length="100" width="2"
    shape="0,-3 100,-3"/><lane id="in_1" index="1" disallow="pedestrian" speed="10" length="100" width="3"
    shape="0,0 100,0"/><lane id="in_2" index="2" disallow="pedestrian" speed="10" length="100" width="3"
    shape="0,3 100,3"/></edge>
  <edge id="out" from="j" to="end"><lane id="out_0" index="0" speed="10" length="50" shape="105,0 105,0 155,0"/></edge>
  <edge id="up" from="j" to="end2" type="ramp"><lane id="up_0" index="0" speed="10" length="50"
    shape="103,6 103,56"/></edge>
  <junction id="gate" type="dead_end"/><junction id="end" type="dead_end"/><junction id="j" type="traffic_light"/>
  <junction id="end2" type="priority"/>
  <connection from="in" to="out" fromLane="1" toLane="0" via=":j_0_0" tl="t" linkIndex="0" dir="s"/>
  <connection from="in" to="up" fromLane="2" toLane="0" via=":j_1_0" tl="t" linkIndex="2" dir="l"/>
  <connection from="in" to="up" fromLane="1" toLane="0" via=":j_1_0" tl="t" linkIndex="1" dir="l"/>
  <connection from=":j_0" to="out" fromLane="0" toLane="0" dir="s"/>
  <connection from=":j_1" to="up" fromLane="0" toLane="0" dir="l"/>
  <connection from=":j_w0" to=":j_c0" fromLane="0" toLane="0" tl="t" linkIndex="3" dir="s"/>
</net>"""


@pytest.fixture
def small(tmp_path):
  path = tmp_path / "net.xml"
  path.write_text(NET)
  return lambda left_hand=False: sumo_map.read(path, left_hand)


def test_net_becomes_lanes(small):
  world = small()
  lanes, of = world.lanes, world.lane_of
  assert len(lanes) == 8 and ":j_w0_0" not in of
  kinds = {name: LaneType(lanes.type_L[index]) for name, index in of.items()}
  assert kinds["in_0"] == kinds[":j_c0_0"] == LaneType.WALK
  assert kinds[":j_0_0"] == kinds[":j_1_0"] == LaneType.JUNCTION
  assert kinds["in_1"] == kinds["out_0"] == LaneType.ROAD and kinds["up_0"] == LaneType.RAMP
  np.testing.assert_array_equal(lanes.points(of["out_0"]), [[105, 0], [155, 0]])  # the repeated point is gone
  pairs = {tuple(pair) for pair in lanes.successor_Ex2.tolist()}
  chain = [
    ("in_1", ":j_0_0"),
    (":j_0_0", "out_0"),
    ("in_2", ":j_1_0"),
    ("in_1", ":j_1_0"),
    (":j_1_0", "up_0"),
  ]
  assert pairs == {(of[a], of[b]) for a, b in chain}
  assert lanes.road_L[of["in_1"]] == world.road_of["in"] != lanes.road_L[of[":j_0_0"]]
  assert world.lane_km == pytest.approx(0.3)
  assert (world.entries, world.exits, world.walks) == (("in",), ("out",), ("in",))


def test_neighbours_depend_on_the_side_and_skip_the_sidewalk(small):
  for left_hand, own, other in ((False, "left_L", "right_L"), (True, "right_L", "left_L")):
    world = small(left_hand)
    walk, outer, inner = (world.lane_of[f"in_{k}"] for k in range(3))
    assert getattr(world.lanes, own)[outer] == inner and getattr(world.lanes, other)[inner] == outer
    assert getattr(world.lanes, own)[walk] == getattr(world.lanes, other)[outer] == -1


def test_each_turning_path_has_its_own_light_and_a_lane_that_of_straight_on(small):
  world = small()
  shown = {link.index: set(link.lanes) for link in world.links}
  of = world.lane_of
  assert shown[0] == {of[":j_0_0"], of["in_1"]}
  assert shown[1] == {of[":j_1_0"]}
  assert shown[2] == {of[":j_1_0"], of["in_2"]}
  assert shown[3] == {of[":j_c0_0"]}


def test_map_id_ignores_the_comment_and_nothing_else(tmp_path):
  ids = []
  for k, text in enumerate((NET, NET.replace("a certain", "another"), NET.replace("105,0 155", "105,0 156"))):
    path = tmp_path / f"{k}.xml"
    path.write_text(text)
    ids.append(sumo_map.read(path, False).map_id)
  assert ids[0] == ids[1] != ids[2]


def test_limit_of_a_circular_bend():
  shape = arc(np.zeros(2), 50.0, 0.0, 2.0)
  assert speed_in_bend(shape) == pytest.approx(np.sqrt(LATERAL * 50.0), rel=0.02)
  assert speed_in_bend(np.array([[0.0, 0], [10, 0], [20, 0]])) > 100


def test_bent_road_starts_and_ends_straight():
  shape = bent(np.zeros(2), np.array([300.0, 0]), 20.0)
  assert np.allclose(shape[[0, -1]], [[0, 0], [300, 0]])
  assert shape[:, 1].max() == pytest.approx(20.0, abs=0.1)
  assert abs(np.diff(shape, axis=0)[0, 1]) < 0.05 * 8


@pytest.mark.parametrize("left_hand", [False, True])
def test_rings_turn_with_the_side_of_traffic(left_hand):
  plan = Plan(left_hand, 3.3)
  sumo_streets.roundabout(plan, np.random.default_rng(4))
  shapes = {values["id"]: shape for values, shape in plan.edges}
  assert len(plan.rings) >= 2
  for nodes, edges in plan.rings:
    ring = np.concatenate([shapes[name] for name in edges])
    area = 0.5 * (ring[:, 0] * np.roll(ring[:, 1], -1) - ring[:, 1] * np.roll(ring[:, 0], -1)).sum()
    assert np.sign(area) == (-1 if left_hand else 1) and abs(area) > 300
    assert len(set(nodes)) == len(edges)


@pytest.mark.parametrize("domain", sumo_networks.BUILDERS)
def test_nets_are_reproducible_and_keep_to_their_side(domain, tmp_path):
  pytest.importorskip("sumo", reason="needs the extra `sim`")

  def build(seed, left_hand):
    net = sumo_networks.build(domain, np.random.default_rng(seed), left_hand, 1.0, tmp_path)
    return sumo_map.read(net, left_hand)

  world = build(1, False)
  assert world.map_id == build(1, False).map_id != build(2, False).map_id
  assert world.entries and world.exits and world.lane_km > 2
  for left_hand in (False, True):
    world = build(1, left_hand)
    sides = []
    for there, name in world.road_of.items():
      start, _, end = there.partition("-")
      back = world.road_of.get(f"{end}-{start}")
      if back is None or there.startswith(":"):
        continue
      kind = world.lanes.type_L
      ours, theirs = (
        world.lanes.points(np.flatnonzero((world.lanes.road_L == road) & (kind == LaneType.ROAD))[0]).mean(0)
        for road in (name, back)
      )
      points = world.lanes.points(np.flatnonzero(world.lanes.road_L == name)[0])
      ahead = points[-1] - points[0]
      apart = theirs - ours
      sides.append(ahead[0] * apart[1] - ahead[1] * apart[0])  # positive: they are on our left
    if domain != "highway":
      assert len(sides) > 4 and (np.array(sides) > 0).mean() == (0 if left_hand else 1)
    neighbours = np.flatnonzero((world.lanes.left_L >= 0) & (world.lanes.type_L == LaneType.ROAD))
    for lane in neighbours:
      a, b = world.lanes.points(lane), world.lanes.points(world.lanes.left_L[lane])
      ahead, apart = a[-1] - a[0], b.mean(0) - a.mean(0)
      assert ahead[0] * apart[1] - ahead[1] * apart[0] > 0
