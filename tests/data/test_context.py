"""What an agent knows before its next move: closed forms, invariances, and one result in both namespaces."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import context, motion
from data.schema import Signal

POINTS, SPACING = 41, 5.0  # 200 m of path
_NEIGHBOURS = [f"{lane} {way}" for lane in ("same", "left", "right") for way in ("front", "back")]
_NAMES = [
  "speed", "acceleration", "yaw rate", "length", "width", "x", "y", "cos", "sin",
  "lateral", "sin error", "cos error", "known",
  *(f"{axis} {d:g}" for d in context.LOOKAHEADS for axis in ("forward", "left")),
  "limit", "limit margin", "limit margin later", "junction", "end", "stop", "red", "yellow or green", "needed",
]  # fmt: skip
for _name in _NEIGHBOURS:
  _NAMES += [f"{_name}: {value}" for value in ("near", "side", "closing", "present")]
  _NAMES += ["leader: speed by gap", "leader: braking"] if _name == "same front" else []
_NAMES += [f"crossing: {v}" for v in ("forward", "left", "vx", "vy", "time", "miss", "present")]


def test_the_columns_have_names_and_blocks_meet():
  assert len(_NAMES) == context.FEATURES
  assert _NAMES[context.MAP.start] == "lateral" and _NAMES[context.AGENTS.start] == "same front: near"
  assert (context.OWN.stop, context.MAP.stop, context.AGENTS.stop) == (9, context.AGENTS.start, len(_NAMES))


def agents(*rows) -> np.ndarray:
  """Float32 states [A, S] from (x, y, heading, speed) rows."""
  return np.array([(*row, 0, 0) for row in rows], np.float32)


def straight(state, **changes) -> context.Surroundings:
  """Everybody's path runs along +x from x = 0, y = 0."""
  count = len(state)
  line = np.stack([np.arange(POINTS) * SPACING, np.zeros(POINTS)], -1)
  around = context.Surroundings(
    size=np.tile(np.float32([4.0, 2.0]), (count, 1)),
    group=np.ones(count, np.uint8),
    path=np.tile(line, (count, 1, 1)).astype(np.float32),
    spacing=np.full(count, SPACING, np.float32),
    limit=np.full((count, POINTS), 10, np.float32),
    junction=np.zeros((count, POINTS), np.uint8),
    stop=np.full((count, 2), context.FAR, np.float32),
    signal=np.zeros((count, 2), np.uint8),
  )
  return around._replace(**changes)


def seen(state, around=None, agent: int = 0, valid=None) -> dict[str, float]:
  """The features of one agent by name, before they are divided by their spread."""
  around = straight(state) if around is None else around
  valid = np.ones(len(state), bool) if valid is None else valid
  values = context.features(state, valid, around)[agent] * np.array(context.SPREAD)
  return dict(zip(_NAMES, values.round(7).tolist(), strict=True))  # float32 through a division and back


def test_own_state():
  state = agents((30, -1, 0.5, 12))
  state[0, motion.ACCELERATION], state[0, motion.YAW_RATE] = -1.2, 0.05
  expected = [1.2, -0.6, 0.2, 0.8, 1.0, 0.6, -0.02, np.cos(0.5), np.sin(0.5)]
  np.testing.assert_allclose(list(seen(state).values())[:9], expected, rtol=1e-6)


def test_lateral_offset_is_positive_to_the_left_of_the_path():
  for y, wanted in ((1.0, 0.5), (-0.6, -0.3), (0.0, 0.0)):
    assert seen(agents((52, y, 0, 10)))["lateral"] == pytest.approx(wanted, abs=1e-6)
  turned = seen(agents((52, 0, 0.2, 10)))
  assert turned["sin error"] == pytest.approx(2 * np.sin(0.2)) and turned["cos error"] == pytest.approx(
    np.cos(0.2)
  )


def test_look_ahead_on_a_straight_path_and_past_its_end():
  f = seen(agents((52.5, 1.5, 0, 10)))
  for d in context.LOOKAHEADS:
    assert f[f"forward {d:g}"] == pytest.approx(1, abs=1e-6)
    assert f[f"left {d:g}"] == pytest.approx(-2 * 1.5 / d, abs=1e-5)
  assert f["end"] == pytest.approx(20 / (147.5 + 20), rel=1e-5)
  assert seen(agents((190, 0, 0, 10)))["forward 50"] == pytest.approx(10 / 50, rel=1e-5)


def test_look_ahead_on_a_circle():
  radius = 60.0
  angle = np.arange(POINTS) * SPACING / radius
  circle = np.stack([radius * np.sin(angle), radius * (1 - np.cos(angle))], -1).astype(np.float32)
  state = agents((0, 0, 0, 10))
  f = seen(state, straight(state, path=circle[None]))
  for d in (5.0, 25.0, 50.0):  # path points: no interpolation
    assert f[f"forward {d:g}"] * d == pytest.approx(radius * np.sin(d / radius), abs=1e-3)
    assert f[f"left {d:g}"] * d / 2 == pytest.approx(radius * (1 - np.cos(d / radius)), abs=1e-3)
  half = agents((*(circle[10] * [1, 1]), float(angle[10]), 10))  # halfway along, pointing along
  f = seen(half, straight(half, path=circle[None]))
  assert f["sin error"] == pytest.approx(0, abs=1e-4) and f["lateral"] == pytest.approx(0, abs=1e-6)
  assert f["left 50"] > 0.4 and f["forward 25"] * 25 == pytest.approx(radius * np.sin(25 / radius), abs=1e-2)


def test_speed_limits_and_junction_by_distance():
  state = agents((52, 0, 0, 8))
  limit = np.full((1, POINTS), 10, np.float32)
  limit[0, 12:] = 4  # from 60 m on
  junction = np.zeros((1, POINTS), np.uint8)
  junction[0, [2, 16, 17]] = 1  # behind, and from 80 m on
  f = seen(state, straight(state, limit=limit, junction=junction))
  assert (f["limit"], f["limit margin"]) == (1.0, pytest.approx(0.4))
  assert f["limit margin later"] == pytest.approx((4 - 8) / 5)
  assert f["junction"] == pytest.approx(20 / (28 + 20))
  assert seen(state)["junction"] < 1e-4


def test_red_light_distance_and_the_braking_it_needs():
  state = agents((50, 0, 0, 10))
  stop = np.array([[90.0, 150.0]], np.float32)

  def at(colour, other=Signal.NONE, x=50.0):
    moved = agents((x, 0, 0, 10))
    return seen(moved, straight(moved, stop=stop, signal=np.array([[colour, other]], np.uint8)))

  red = at(Signal.RED)
  assert red["stop"] == pytest.approx(20 / (40 + 20)) and (red["red"], red["yellow or green"]) == (1, 0)
  assert red["needed"] == pytest.approx(10**2 / (2 * 40) / 3)
  yellow, green = at(Signal.YELLOW), at(Signal.GREEN_YIELD)
  assert (yellow["red"], yellow["yellow or green"]) == (0, 1) and yellow["needed"] == red["needed"]
  assert (green["red"], green["yellow or green"], green["needed"]) == (0, 0.5, 0)
  assert at(Signal.RED, x=91.5)["stop"] == pytest.approx(1)  # standing a little over the line
  beyond = at(Signal.GREEN, Signal.RED, x=93.0)  # passed: the next one counts
  assert beyond["red"] == 1 and beyond["stop"] == pytest.approx(20 / (57 + 20))
  assert at(Signal.RED, x=5.0)["red"] == 0  # out of range
  assert seen(state)["stop"] < 1e-4 and seen(state)["red"] == 0


def test_leader_gap_on_a_straight_road():
  f = seen(agents((50, 0, 0, 10), (80, 0.4, 0, 7), (110, 0, 0, 2), (35, 0, 0, 12)))
  clear = 30 - 4  # centre to centre less two half lengths
  assert f["same front: present"] == 1 and f["same front: near"] == pytest.approx(10 / (clear + 10))
  assert f["same front: side"] == pytest.approx(0.2) and f["same front: closing"] == pytest.approx(-3 / 5)
  assert f["leader: speed by gap"] == pytest.approx(10 / clear)
  assert f["leader: braking"] == pytest.approx(3**2 / (2 * clear) / 3)
  assert f["same back: near"] == pytest.approx(10 / (11 + 10)) and f["same back: closing"] == pytest.approx(
    0.4
  )
  assert not any(value for name, value in f.items() if name.startswith(("left", "right")) and ":" in name)


def test_oncoming_traffic_closes_at_the_sum_of_the_speeds():
  f = seen(agents((50, 0, 0, 10), (90, 3.5, np.pi, 7)))
  assert f["left front: present"] == 1 and f["left front: closing"] == pytest.approx(-17 / 5)


def test_left_and_right_neighbours():
  f = seen(agents((50, 0, 0, 10), (60, 3.5, 0, 10), (42, 3.5, 0, 10), (65, -3.5, 0, 9), (45, -3.5, 0, 8)))
  for name, gap, side, closing in (
    ("left front", 10, 3.5, 0), ("left back", 8, 3.5, 0), ("right front", 15, -3.5, -1),
    ("right back", 5, -3.5, -2),
  ):  # fmt: skip
    assert f[f"{name}: present"] == 1
    assert f[f"{name}: near"] == pytest.approx(10 / (gap - 4 + 10))
    assert f[f"{name}: side"] == pytest.approx(side / 2) and f[f"{name}: closing"] == pytest.approx(
      closing / 5
    )
  assert f["same front: present"] == f["same back: present"] == 0
  far = seen(agents((50, 0, 0, 10), (60, 6, 0, 10), (50 + context.RANGE + 1, 0, 0, 10)))
  assert not any(value for name, value in far.items() if name.endswith(": present"))


def test_the_most_threatening_crossing_agent():
  # Reaches the conflict point (50, 0) after 3 s, as the ego does; another passes 40 m behind it.
  f = seen(agents((20, 0, 0, 10), (50, -24, np.pi / 2, 8), (50, -64, np.pi / 2, 8)))
  assert f["crossing: present"] == 1 and f["crossing: time"] == pytest.approx(3 / context.HORIZON, rel=1e-5)
  assert f["crossing: miss"] == pytest.approx(1, abs=1e-5)
  assert (f["crossing: forward"], f["crossing: left"]) == (pytest.approx(1.5), pytest.approx(-1.2))
  assert (f["crossing: vx"], f["crossing: vy"]) == (pytest.approx(-1), pytest.approx(0.8))
  leaving = seen(agents((20, 0, 0, 10), (0, 24, np.pi / 2, 8)))
  assert leaving["crossing: present"] == 0
  same_course = seen(agents((20, 0, 0, 10), (40, 3, -0.2, 5)))
  assert same_course["crossing: present"] == 0


def test_an_agent_without_a_path_knows_only_itself_and_what_crosses():
  state = agents((20, 0, 0, 10), (30, 0, 0, 10), (50, -24, np.pi / 2, 8))
  spacing = np.array([0, SPACING, SPACING], np.float32)
  f = context.features(state, np.ones(3, bool), straight(state, spacing=spacing))[0]
  assert not f[context.MAP].any() and not f[context.AGENTS][:-7].any() and f[-1] > 0


def world(seed: int = 0, count: int = 10):
  """Random agents on random curved paths, with signals; no agent near a border between two features."""
  rng = np.random.default_rng(seed)
  heading = rng.uniform(-np.pi, np.pi, count)
  curve = rng.uniform(-0.01, 0.01, count)
  arc = np.arange(POINTS) * SPACING
  course = heading[:, None] + curve[:, None] * arc
  steps = SPACING * np.stack([np.cos(course), np.sin(course)], -1)
  start = rng.uniform(-40, 40, (count, 2))
  path = start[:, None] + np.concatenate([np.zeros((count, 1, 2)), np.cumsum(steps, 1)[:, :-1]], 1)
  state = np.zeros((count, motion.STATE))
  state[:, :2] = path[:, 3] + rng.normal(0, 0.5, (count, 2))
  state[:, motion.HEADING] = course[:, 3] + rng.normal(0, 0.05, count)
  state[:, motion.SPEED] = rng.uniform(2, 15, count)
  around = straight(state)._replace(
    size=rng.uniform(2, 10, (count, 2)),
    path=path,
    limit=rng.uniform(5, 20, (count, POINTS)),
    junction=(rng.random((count, POINTS)) < 0.2).astype(np.uint8),
    stop=np.sort(rng.uniform(20, 80, (count, 2)), -1),
    signal=rng.integers(1, 5, (count, 2)).astype(np.uint8),
    group=rng.integers(1, 3, count).astype(np.uint8),
  )
  return state, around


@pytest.mark.parametrize(("angle", "shift"), [(0.0, (30.0, -80.0)), (2.1, (0.0, 0.0)), (-0.7, (-55.0, 12.0))])
def test_map_and_agents_do_not_depend_on_the_frame(angle, shift):
  state, around = world()
  turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
  moved = state.copy()
  moved[:, :2] = state[:, :2] @ turn + shift
  moved[:, motion.HEADING] += angle
  valid = np.ones(len(state), bool)
  here = context.features(state, valid, around)
  there = context.features(moved, valid, around._replace(path=around.path @ turn + np.array(shift)))
  for block in (context.MAP, context.AGENTS):
    np.testing.assert_allclose(there[:, block], here[:, block], atol=1e-9)
  assert np.abs(there[:, 5:9] - here[:, 5:9]).max() > 0.1  # the pose itself is told in the window's frame


def test_numpy_and_jax_agree_with_and_without_a_time_axis():
  state, around = world(1)
  valid = np.arange(len(state)) != 3
  single = state.astype(np.float32), valid, context.Surroundings(*(np.float32(v) for v in around))
  expected = context.features(*single)
  inside = jax.jit(functools.partial(context.features, xp=jnp))
  found = inside(*single[:2], context.Surroundings(*map(jnp.asarray, single[2])))
  np.testing.assert_allclose(found, expected, atol=2e-4)
  many = context.features(
    np.stack([single[0]] * 2)[None],
    np.stack([valid] * 2)[None],
    context.Surroundings(*(v[None, None] for v in single[2])),
  )
  np.testing.assert_allclose(many[0], np.stack([expected] * 2), atol=1e-6)


def test_the_invalid_the_padding_and_other_groups_are_invisible():
  state, around = world(2)
  group = around.group
  everyone = context.features(state, np.ones(len(state), bool), around)
  for chosen in (1, 2):
    rows = group == chosen
    alone = context.Surroundings(*(v[rows] for v in around))
    np.testing.assert_array_equal(
      context.features(state[rows], np.ones(rows.sum(), bool), alone), everyone[rows]
    )
  valid = np.ones(len(state), bool)
  gone = int(np.flatnonzero(group == 1)[1])
  valid[gone] = False
  found = context.features(state, valid, around)
  assert not found[gone].any()
  nonsense = state.copy()
  nonsense[gone] = 77
  np.testing.assert_array_equal(context.features(nonsense, valid, around), found)


def test_no_feature_leaves_the_range_a_float16_keeps():
  for seed in range(5):
    state, around = world(seed, 14)
    state[:7, :2] = state[7:, :2]  # some on top of each other
    found = context.features(state, np.ones(14, bool), around)
    assert np.isfinite(found).all() and np.abs(found).max() < 100
