"""Windows: every move in exactly one, slots never exceeded, what was logged comes back."""

import dataclasses

import numpy as np
import pytest

from data import context, motion
from data.datasets import FORMAT_VERSION
from data.errors import BadInput
from data.schema import AgentType, Lanes, LaneType, Metadata, Scene, Signal
from data.windows import WindowConfig, groups, windows_of
from tests.worlds import straight_scene

CONFIG = WindowConfig(dt=0.5, steps=8, agents=6, points=32, stops=2, phases=1, least_moves=4)
DT = 0.5


def crowd(seed: int = 0, steps: int = 30, agents: int = 17) -> Scene:
  """Agents of a straight world that come and go, with a heading and a place of their own."""
  rng = np.random.default_rng(seed)
  scene = straight_scene(steps=steps, agents=agents, seed=seed, dt=DT)
  valid = np.zeros((steps, agents), bool)
  for a in range(agents):
    start = int(rng.integers(0, steps - 8)) if a else 0
    valid[start : start + int(rng.integers(6, steps)) if a else steps, a] = True
  heading = rng.uniform(-np.pi, np.pi, agents)
  course = np.stack([np.cos(heading), np.sin(heading)], -1)
  speed = scene.velocity_TxAx2[..., :1]
  travelled = np.concatenate([np.zeros((1, agents, 1)), np.cumsum(speed[1:] * DT, 0)])
  position = rng.uniform(-80, 80, (agents, 2)) + travelled * course
  shown = valid[..., None]
  # The length tells who is who.
  return dataclasses.replace(
    scene,
    position_TxAx2=np.where(shown, position, 0).astype(np.float32),
    velocity_TxAx2=np.where(shown, speed * course, 0).astype(np.float32),
    heading_TxA=np.where(valid, heading, 0).astype(np.float32),
    lane_TxA=np.full((steps, agents), -1, np.int32),
    valid_TxA=valid,
    size_Ax2=np.stack([np.arange(agents) + 1.0, np.full(agents, 2.0)], -1).astype(np.float32),
  )


def identity(window) -> np.ndarray:
  """int [A]: the agent in each slot of a window of `crowd`, -1 for none."""
  return window["size_Ax2"][:, 0].astype(int) - 1


def test_windows_match_their_spec_and_leave_no_slot_over():
  for window in windows_of(crowd(), CONFIG, 3):
    assert set(window) == set(CONFIG.spec)
    for name, (shape, dtype) in CONFIG.spec.items():
      assert (window[name].shape, window[name].dtype) == (shape, np.dtype(dtype)), name
    assert window["domain"] == 3
    used = window["group_A"] > 0
    assert used.any() and not window["mask_TxA"][:, ~used].any()
    assert not window["features_TxAxF"][~window["valid_TxA"]].any()
    assert not (window["mask_TxA"] & ~window["valid_TxA"]).any()


@pytest.mark.parametrize("seed", range(3))
def test_every_supervised_move_is_in_exactly_one_window(seed):
  scene = crowd(seed)
  moves = motion.encode(scene.position_TxAx2, scene.heading_TxA, scene.velocity_TxAx2, scene.valid_TxA, DT)
  expected = set()
  for start in range(0, len(moves.mask_TxA), CONFIG.steps):
    part = moves.mask_TxA[start : start + CONFIG.steps]
    for a in np.flatnonzero(part.sum(0) >= 4):  # fewer moves than that are left out
      expected |= {(start + t, a) for t in np.flatnonzero(part[:, a])}
  found = []
  for window in windows_of(scene, CONFIG, 0):
    who = identity(window)
    for t, slot in np.argwhere(window["mask_TxA"]):
      # The step is found by the token sequence's truth: where the agent was.
      start = slice_start(window, slot, scene, who[slot])
      found.append((start + t, who[slot]))
      assert window["tokens_TxA"][t, slot] == moves.tokens_TxA[start + t, who[slot]]
  assert len(found) == len(set(found)) and set(found) == expected
  assert len(found) > 0.8 * moves.mask_TxA.sum()


def slice_start(window, slot, scene, agent) -> int:
  """The multiple of the window length at which this slot's distances between frames match the log's."""
  mask = window["mask_TxA"][:, slot]
  step = np.hypot(*np.diff(window["truth_TxAx2"][:, slot], axis=0).T)[mask]
  for start in range(0, len(scene.valid_TxA), CONFIG.steps):
    path = scene.position_TxAx2[start : start + CONFIG.steps + 1, agent]
    if len(path) < len(mask) + 1:
      path = np.concatenate([path, np.zeros((len(mask) + 1 - len(path), 2), np.float32)])
    if np.allclose(np.hypot(*np.diff(path, axis=0).T)[mask], step, atol=1e-3):
      return start
  raise AssertionError("the slot's path is not in the log")


@pytest.mark.parametrize("seed", range(3))
def test_moves_decode_to_within_half_a_metre_of_the_log(seed):
  for window in windows_of(crowd(seed), CONFIG, 0):
    mask = window["mask_TxA"]
    after = motion.step(window["state_TxAxS"], window["tokens_TxA"], DT)
    miss = np.hypot(*(after[..., :2] - window["truth_TxAx2"][1:]).transpose(2, 0, 1))
    assert miss[mask].max() < 0.5
    # Each state is what the move before made of the last one: nothing is corrected in between.
    chained = mask[:-1] & mask[1:]
    np.testing.assert_allclose(after[:-1][chained], window["state_TxAxS"][1:][chained], atol=2e-3)


def test_the_frame_of_a_group_is_its_egos_first_pose():
  for window in windows_of(crowd(), CONFIG, 0):
    for group in range(1, int(window["group_A"].max()) + 1):
      ego = int(np.flatnonzero(window["group_A"] == group)[0])
      first = window["state_TxAxS"][int(window["mask_TxA"][:, ego].argmax()), ego]
      np.testing.assert_allclose(first[:3], 0, atol=1e-4)


def test_features_are_those_of_the_stored_state():
  window = windows_of(crowd(), CONFIG, 0)[0]
  around = context.Surroundings(
    size=window["size_Ax2"][None],
    group=window["group_A"][None],
    path=window["path_AxPx2"][None],
    spacing=window["spacing_A"][None],
    limit=window["limit_AxP"][None].astype(np.float32),
    junction=window["junction_AxP"][None],
    stop=window["stop_AxQ"][None],
    signal=window["signal_TxAxQ"],
  )
  expected = context.features(window["state_TxAxS"], window["mask_TxA"], around)
  np.testing.assert_allclose(window["features_TxAxF"], expected, rtol=1e-3, atol=1e-3)


def test_small_groups_share_a_window_and_do_not_see_each_other():
  scene = straight_scene(steps=17, agents=3, dt=DT)
  (shared,) = windows_of(scene, CONFIG, 0)  # two slices of time, side by side
  assert shared["group_A"].tolist() == [1, 1, 1, 2, 2, 2]
  apart = windows_of(scene, dataclasses.replace(CONFIG, agents=3), 0)
  features = np.concatenate([w["features_TxAxF"] for w in apart], 1)
  np.testing.assert_array_equal(shared["features_TxAxF"], features)


def test_groups_cover_everybody_once_and_never_exceed_the_size():
  rng = np.random.default_rng(0)
  for count in (1, 5, 6, 7, 40, 101):
    position = rng.uniform(-200, 200, (count, 2))
    found = groups(position, 6)
    assert sorted(np.concatenate(found).tolist()) == list(range(count))
    assert max(map(len, found)) <= 6 and found[0][0] == 0
    nearest = np.hypot(*(position - position[0]).T).argsort()[:6]
    assert set(found[0].tolist()) == set(nearest.tolist())
    assert len(found) <= -(-count // 6) + count // 6  # not cut finer than halves of what is too large


def test_groups_are_compact():
  clusters = np.concatenate(
    [[k * 1000.0, 0] + np.random.default_rng(k).normal(0, 5, (6, 2)) for k in range(4)]
  )
  assert sorted(map(sorted, (g.tolist() for g in groups(clusters, 6)))) == [
    list(range(6 * k, 6 * k + 6)) for k in range(4)
  ]


def test_a_scene_shorter_than_a_window_gives_one_with_the_rest_masked():
  (window,) = windows_of(straight_scene(steps=6, agents=3, dt=DT), CONFIG, 0)
  assert window["mask_TxA"].sum(0).tolist() == [5, 5, 5, 0, 0, 0]
  assert window["moving_A"].tolist() == [True] * 3 + [False] * 3


def test_phases_start_at_other_frames_and_a_period_that_does_not_fit_is_refused():
  scene = straight_scene(steps=201, agents=3, dt=0.1)
  one, five, many = (
    windows_of(scene, dataclasses.replace(CONFIG, agents=4, phases=phases), 0) for phases in (1, 5, 99)
  )
  assert len(one) == 5 and len(five) == len(many) == 5 * len(one)
  starts = {w["truth_TxAx2"].tobytes() for w in five}
  assert len(starts) == len(five)
  with pytest.raises(BadInput, match=r"metadata.dt 0.1 s does not divide the token period 0.25 s"):
    windows_of(scene, dataclasses.replace(CONFIG, dt=0.25), 0)


def test_standing_agents_are_told_from_moving_ones():
  scene = straight_scene(steps=9, agents=3, dt=DT)
  position, velocity = scene.position_TxAx2.copy(), scene.velocity_TxAx2.copy()
  position[:, 1], velocity[:, 1] = position[0, 1], 0
  (window,) = windows_of(
    dataclasses.replace(scene, position_TxAx2=position, velocity_TxAx2=velocity), CONFIG, 0
  )
  assert window["moving_A"].tolist() == [True, False, True, False, False, False]
  assert (window["tokens_TxA"][:, 1] == motion.KEEP).all()


def signalled_road() -> Scene:
  """10 m/s eastward: lane 0 ends at x = 100 with no light of its own where turning lane 1 carries one;
  lane 2 follows, and ends at x = 150 with a light."""
  steps = 9
  x = 20 + 10 * DT * np.arange(steps)
  lanes = Lanes(
    xy_Nx2=np.array([[0, 0], [100, 0], [100, 0], [120, 0], [120, 0], [150, 0], [150, 0], [400, 0]], np.float32),
    splits=np.array([0, 2, 4, 6, 8], np.int32), width_L=np.full(4, 3.5, np.float32),
    speed_limit_L=np.array([14, 8, 20, 25], np.float32),
    type_L=np.array([LaneType.ROAD, LaneType.JUNCTION, LaneType.ROAD, LaneType.ROAD], np.uint8),
    road_L=np.arange(4, dtype=np.int32), successor_Ex2=np.array([(0, 1), (1, 2), (2, 3)], np.int32),
    left_L=np.full(4, -1, np.int32), right_L=np.full(4, -1, np.int32),
  )  # fmt: skip
  signal = np.zeros((steps, 4), np.uint8)
  signal[:, 0] = signal[:, 1] = Signal.RED
  signal[4:, 1] = Signal.GREEN
  signal[:, 2] = Signal.YELLOW
  metadata = Metadata("signals", "test", "test", "", "", "", "", -1.0, DT)
  return Scene(
    metadata, lanes, np.stack([x, 0 * x], -1)[:, None].astype(np.float32), np.zeros((steps, 1), np.float32),
    np.tile(np.float32([10, 0]), (steps, 1, 1)), np.ones((steps, 1), bool), np.zeros((steps, 1), np.int32),
    np.array([[4.5, 1.8]], np.float32), np.zeros(1, np.uint8), np.zeros(1, np.int64), np.zeros(0, np.int32),
    np.zeros(2, np.int32), signal,
  )  # fmt: skip


def test_the_path_carries_limits_junctions_and_signals_where_they_are():
  (window,) = windows_of(signalled_road(), CONFIG, 0)
  length = 110 + 10 * CONFIG.steps * DT
  spacing = length / (CONFIG.points - 1)
  assert window["spacing_A"][0] == pytest.approx(spacing)
  arcs = np.arange(CONFIG.points) * spacing
  np.testing.assert_allclose(window["path_AxPx2"][0], np.stack([arcs, 0 * arcs], -1), atol=1e-3)
  # The ego starts at x = 20: the junction begins 80 m ahead and ends after 100 m.
  assert window["junction_AxP"][0].tolist() == ((arcs >= 80) & (arcs < 100)).astype(int).tolist()
  expected = np.select([arcs < 80, arcs < 100, arcs < 130], [14, 8, 20], 25)
  assert window["limit_AxP"][0].tolist() == expected.tolist()
  assert window["stop_AxQ"][0].tolist() == pytest.approx([80, 130])
  assert window["signal_TxAxQ"][:, 0, 0].tolist() == [Signal.RED] * 4 + [Signal.GREEN] * 4
  assert (window["signal_TxAxQ"][:, 0, 1] == Signal.YELLOW).all()
  assert not window["spacing_A"][1:].any() and (window["stop_AxQ"][1:] == context.FAR).all()


def test_a_car_is_not_expected_on_a_bike_lane():
  """Straight on from the junction there is a bike lane; the road turns away."""
  scene = signalled_road()
  types = [LaneType.ROAD, LaneType.JUNCTION, LaneType.BIKE, LaneType.BIKE, LaneType.ROAD]
  planted = dataclasses.replace(
    scene.lanes, type_L=np.array(types, np.uint8),
    xy_Nx2=np.concatenate([scene.lanes.xy_Nx2, np.array([[100, 0], [110, 60]], np.float32)]),
    splits=np.array([0, 2, 4, 6, 8, 10], np.int32), width_L=np.full(5, 3.5, np.float32),
    speed_limit_L=np.full(5, 14, np.float32), road_L=np.arange(5, dtype=np.int32),
    successor_Ex2=np.array([(0, 1), (1, 2), (2, 3), (0, 4)], np.int32), left_L=np.full(5, -1, np.int32),
    right_L=np.full(5, -1, np.int32),
  )  # fmt: skip
  scene = dataclasses.replace(scene, lanes=planted, signal_TxL=np.pad(scene.signal_TxL, ((0, 0), (0, 1))))
  for kind, aside in ((AgentType.CAR, True), (AgentType.BICYCLE, False)):
    (window,) = windows_of(dataclasses.replace(scene, type_A=np.array([kind], np.uint8)), CONFIG, 0)
    assert (window["path_AxPx2"][0, :, 1].max() > 50) == aside, kind


def test_pedestrians_and_agents_off_the_lanes_have_no_path():
  scene = signalled_road()
  off = dataclasses.replace(scene, lane_TxA=np.full_like(scene.lane_TxA, -1))
  walk = dataclasses.replace(scene.lanes, type_L=np.full(4, LaneType.WALK, np.uint8))
  for changed in (off, dataclasses.replace(scene, lanes=walk)):
    (window,) = windows_of(changed, CONFIG, 0)
    assert window["spacing_A"][0] == 0 and not window["path_AxPx2"].any()


def test_a_path_does_not_depend_on_what_comes_after_the_first_move():
  scene = signalled_road()
  future = scene.lane_TxA.copy()
  future[1:] = 2
  (window,), (changed,) = (
    windows_of(s, CONFIG, 0) for s in (scene, dataclasses.replace(scene, lane_TxA=future))
  )
  for name in window:
    np.testing.assert_array_equal(window[name], changed[name], name)


def test_what_tokens_and_features_mean_is_pinned():
  """A change here makes old datasets mean something else: raise data.datasets.FORMAT_VERSION, then these numbers."""
  window = windows_of(straight_scene(steps=41, agents=4, dt=0.1), CONFIG, 0)[0]
  features, tokens = window["features_TxAxF"].astype(np.float64), window["tokens_TxA"].astype(np.int64)
  weights = 1 + np.arange(features.shape[-1])
  assert (FORMAT_VERSION, int(tokens.sum())) == (4, 4659)
  assert (features * weights).sum() == pytest.approx(24277, rel=1e-3)
