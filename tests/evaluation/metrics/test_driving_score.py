"""The driving score: every sub-score broken alone by an episode made for it, and the composites by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluation.metrics import driving_score, road
from evaluation.metrics.driving_score import EPDMS, PDMS, SUB_SCORES, Episode, SubScores, composite
from tests.evaluation.metrics.test_road import FAR, STREET

DT, FRAMES, AGENTS = 0.1, 60, 3
TIME = np.arange(FRAMES) * DT
WORLD = road.make_road(STREET, 8, -FAR, FAR)
NO_LINES = road.StopLines(
  *(np.zeros(shape, np.float32) for shape in ((1, 2), (1, 2), (1,))),
  np.zeros((FRAMES, 1), bool),
  np.zeros(1, bool),
)
LINE = road.StopLines(
  *(np.array(value, np.float32) for value in ([[30, 1.6]], [[1, 0]], [2])),
  np.ones((FRAMES, 1), bool),
  np.ones(1, bool),
)


def straight(x, y, heading, speed):
  """[T, 4]: a vehicle that drives straight on."""
  go = speed * TIME
  return np.stack(
    [x + go * np.cos(heading), y + go * np.sin(heading), 0 * TIME + heading, 0 * TIME + speed], -1
  )


def episode(ego=None, agents=(), **changes):
  """The ego drives 10 m/s along the middle of its lane for 6 s, unless said otherwise."""
  tracks = np.zeros((FRAMES, AGENTS, 4), np.float32)
  for a, track in enumerate(agents):
    tracks[:, a] = track
  made = Episode(
    ego_Tx4=np.asarray(straight(5, 1.6, 0, 10) if ego is None else ego, np.float32),
    ego_size_2=np.array([4.5, 1.8], np.float32),
    frames=np.int32(FRAMES),
    agents_TxAx4=tracks,
    agents_size_Ax2=np.tile(np.float32([4.5, 1.8]), (AGENTS, 1)),
    agents_valid_TxA=np.broadcast_to(np.arange(AGENTS) < len(agents), (FRAMES, AGENTS)),
    movable_A=np.ones(AGENTS, bool),
    road=WORLD,
    lines=NO_LINES,
    route_Px2=np.array([[0, 1.6], [100, 1.6], [100, 1.6]], np.float32),
    reference_m=np.float32(59),
    extended_comfort=np.float32(np.nan),
  )
  return made._replace(**changes)


@jax.jit
def _score(given):
  driven = driving_score.observe(given, DT)
  return driven, driving_score.sub_scores(given, driven, DT)


def scores(given):
  """Name to value of what is defined."""
  found = _score(given)[1]
  parts = zip(SUB_SCORES, found.value_M.tolist(), found.defined_M.tolist(), strict=True)
  return {name: value for name, value, defined in parts if defined}


BRIEFLY = (np.arange(FRAMES) < 10)[:, None] & (np.arange(AGENTS) < 1)[None]
PERFECT = {
  "no_at_fault_collision": 1, "drivable_area": 1, "driving_direction": 1, "progress": 1, "time_to_collision": 1,
  "lane_keeping": 1, "comfort": 1,
}  # fmt: skip


def test_a_clean_drive_is_perfect_and_says_what_it_could_not_measure():
  found = _score(episode())[1]
  assert scores(episode()) == pytest.approx(PERFECT, abs=1e-5)
  assert float(composite(found, PDMS)) == pytest.approx(1, abs=1e-5)
  assert float(composite(found, EPDMS)) == pytest.approx(1, abs=1e-5)


def drifting(by, rate):
  """The ego moves sideways by `by` m over the 6 s, eased, at 10 m/s."""
  ego = straight(5, 1.6, 0, 10)
  ease = (1 - np.cos(np.pi * np.clip(TIME * rate, 0, 1))) / 2
  ego[:, 1] += by * ease
  ego[:, 2] = np.arctan2(np.gradient(ego[:, 1], DT), 10)
  return ego


def into_its_side():
  """Somebody beside and a little behind, who comes nearer."""
  return straight(3, 5.2, 0, 10) + np.stack([0 * TIME, -0.5 * TIME, 0 * TIME, 0 * TIME], -1)


def swap(track):
  """The street the other way round: everything turned by half a turn about (50, 3.2)."""
  turned = np.array(track)
  turned[..., 0], turned[..., 1], turned[..., 2] = (
    100 - track[..., 0],
    6.4 - track[..., 1],
    track[..., 2] + np.pi,
  )
  return turned


@pytest.mark.parametrize(
  ("what", "given", "lowered"),
  [
    ("it runs into one that drives slower", {"agents": [straight(30, 1.6, 0, 4)]},
     {"no_at_fault_collision": 0, "time_to_collision": 0}),
    ("it is run into", {"agents": [straight(-20, 1.6, 0, 18)]}, {}),
    ("it passes one that stands in the other lane", {"agents": [straight(40, 4.8, np.pi, 0)]}, {}),
    ("it meets oncoming traffic in the other lane", {"agents": [straight(90, 4.8, np.pi, 10)]}, {}),
    ("it hits what cannot move", {"agents": [straight(30, 1.6, 0, 0)], "movable_A": np.zeros(AGENTS, bool)},
     {"no_at_fault_collision": 0.5, "time_to_collision": 0}),
    ("it nearly runs into one that is gone then",
     {"agents": [straight(12.1, 1.6, 0, 7.5)], "agents_valid_TxA": BRIEFLY}, {"time_to_collision": 0}),
    ("it leaves the road", {"ego": drifting(-1.3, 0.5)}, {"drivable_area": 0, "lane_keeping": 0}),
    ("it keeps off the middle", {"ego": drifting(-0.6, 0.5)}, {"lane_keeping": 0}),
    ("it drifts a little", {"ego": drifting(-0.45, 0.5)}, {}),
    ("it drives in the oncoming lane", {"ego": straight(5, 4.8, 0, 10)}, {"driving_direction": 0, "lane_keeping": 0}),
    ("it creeps in the oncoming lane", {"ego": straight(5, 4.8, 0, 4), "reference_m": np.float32(20)},
     {"driving_direction": 0.5, "lane_keeping": 0}),
    ("it goes half as far", {"ego": straight(5, 1.6, 0, 5)}, {"progress": 0.5}),
    ("it goes further", {"reference_m": np.float32(30)}, {}),
    ("nobody gets anywhere", {"ego": straight(5, 1.6, 0, 0), "reference_m": np.float32(3)}, {}),
    ("it starts too hard", {"ego": np.stack([5 + 1.3 * TIME**2, 0 * TIME + 1.6, 0 * TIME, 2.6 * TIME], -1),
                            "reference_m": np.float32(40)}, {"comfort": 0}),
  ],
)  # fmt: skip
def test_each_fault_lowers_its_own_sub_score_and_no_other(what, given, lowered):
  assert scores(episode(**given)) == pytest.approx(PERFECT | lowered, abs=0.01), what
  turned = episode(**given)
  turned = turned._replace(
    ego_Tx4=swap(turned.ego_Tx4),
    agents_TxAx4=swap(turned.agents_TxAx4),
    route_Px2=swap(np.pad(turned.route_Px2, ((0, 0), (0, 1))))[:, :2],
  )
  assert scores(turned) == pytest.approx(PERFECT | lowered, abs=0.01), what


def test_whose_lane_it_is_decides_a_collision_of_sides():
  assert scores(episode(agents=[into_its_side()])) == pytest.approx(PERFECT, abs=1e-5)
  over_the_line = episode(ego=straight(5, 2.9, 0, 10), agents=[into_its_side()])
  assert scores(over_the_line)["no_at_fault_collision"] == 0


def test_red_lights_count_where_there_are_any():
  assert scores(episode(lines=LINE)) == pytest.approx(PERFECT | {"traffic_light": 0}, abs=1e-5)
  green = LINE._replace(red_TxQ=np.zeros((FRAMES, 1), bool))
  assert scores(episode(lines=green)) == pytest.approx(PERFECT | {"traffic_light": 1}, abs=1e-5)


def test_frames_that_were_not_driven_and_agents_that_are_absent_may_hold_anything():
  given = episode(agents=[straight(30, 1.6, 0, 4)], frames=np.int32(20), reference_m=np.float32(19))
  given.ego_Tx4[20:] = np.nan
  assert scores(given) == pytest.approx(PERFECT, abs=1e-5)  # the collision comes later
  absent = given._replace(agents_valid_TxA=np.zeros((FRAMES, AGENTS), bool))
  absent.agents_TxAx4[:] = np.nan
  assert scores(absent) == pytest.approx(PERFECT, abs=1e-5)


@pytest.mark.parametrize("field", ["ego_Tx4", "agents_TxAx4", "route_Px2", "agents_size_Ax2"])
def test_a_number_that_is_none_is_shown_not_hidden(field):
  given = episode(agents=[straight(60, 4.8, np.pi, 0)])
  value = getattr(given, field).copy()
  value.flat[1] = np.nan
  broken = _score(given._replace(**{field: value}))[1]
  assert np.isnan(broken.value_M).all() and np.isnan(float(composite(broken, PDMS)))


def test_without_a_map_or_a_reference_their_sub_scores_are_undefined():
  nowhere = episode(road=WORLD._replace(mask_S=np.zeros(8, bool)), reference_m=np.float32(np.nan))
  assert set(scores(nowhere)) == {"no_at_fault_collision", "time_to_collision", "comfort"}
  given = episode(agents=[into_its_side()])
  tracks = {"agents_TxAx4": given.agents_TxAx4, "agents_valid_TxA": given.agents_valid_TxA}
  assert set(scores(nowhere._replace(**tracks)).values()) == {1}  # nor is it blamed for having left the road
  short = episode(frames=np.int32(9), reference_m=np.float32(8))
  assert set(PERFECT) - set(scores(short)) == {"comfort"}
  assert float(composite(_score(short)[1], PDMS)) == pytest.approx(1, abs=1e-5)


def test_composites_by_hand():
  value = np.array([0.5, 1, 0.5, 1, 0.4, 1, 0, 1, 0.0])
  whole = SubScores(jnp.array(value), jnp.ones(9, bool))
  assert float(composite(whole, PDMS)) == pytest.approx(0.5 * (5 + 2 + 2) / 12)
  assert float(composite(whole, EPDMS)) == pytest.approx(0.25 * (2 + 5 + 0 + 2 + 0) / 16)
  partly = whole._replace(defined_M=jnp.array([1, 1, 0, 1, 0, 1, 1, 1, 0], bool))
  partly = partly._replace(value_M=jnp.where(partly.defined_M, partly.value_M, jnp.nan))
  assert float(composite(partly, EPDMS)) == pytest.approx(0.5 * (5 + 0 + 2) / 9)
  nothing = whole._replace(defined_M=jnp.array([1, 1, 1, 1, 0, 0, 0, 0, 0], bool))
  assert np.isnan(float(composite(nothing, EPDMS)))


def test_who_breaks_a_rule_where_the_human_did_is_excused():
  whole = SubScores(jnp.array([0.0, 1, 0.5, 1, 0.4, 0, 0, 1, 1]), jnp.ones(9, bool))
  human = SubScores(jnp.array([0.0, 1, 0.5, 1, 1, 1, 0, 1, 0]), jnp.ones(9, bool).at[6].set(False))
  excused = driving_score.human_filtered(whole, human)
  np.testing.assert_allclose(
    excused.value_M, [1, 1, 0.5, 1, 0.4, 0, 0, 1, 1]
  )  # only zeros excuse, if defined


def test_episodes_can_be_batched():
  many = [episode(), episode(agents=[straight(30, 1.6, 0, 4)])]
  stacked = jax.tree.map(lambda *parts: np.stack(parts), *many)
  both = jax.jit(jax.vmap(_values))(stacked)
  np.testing.assert_allclose(both, np.stack([_score(one)[1].value_M for one in many]), atol=1e-6)


def _values(given):
  return driving_score.sub_scores(given, driving_score.observe(given, DT), DT).value_M
