"""Places: centres of patches, points at rest seen from a moving ego, velocities over the ground."""

import jax.numpy as jnp
import numpy as np

from models import geometry
from models.sensors_config import GridConfig
from tests.sensed import SENSORS, perception_config

SECONDS, SPEED, YAW_RATE = 0.5, 8.0, 0.6
STEPS = 3


def drive():
  """An ego on a circle, from (0, 0) heading along x: (x, y, yaw [T], state [1, T, 3])."""
  yaw = YAW_RATE * SECONDS * np.arange(STEPS)
  radius = SPEED / YAW_RATE
  state = np.broadcast_to(np.array([SPEED, YAW_RATE, 0.0]), (1, STEPS, 3))
  return radius * np.sin(yaw), radius * (1 - np.cos(yaw)), yaw, jnp.asarray(state, jnp.float32)


def seen(xy_TxKx2, x_T, y_T, yaw_T):
  """Points of the scene in the ego frames of their steps: float32 [1, T, K, 2]."""
  offset = xy_TxKx2 - np.stack([x_T, y_T], -1)[:, None]
  cos, sin = np.cos(yaw_T)[:, None], np.sin(yaw_T)[:, None]
  place = np.stack(
    [cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0]], -1
  )
  return jnp.asarray(place[None], jnp.float32)


def test_points_at_rest_are_carried_into_the_next_frame_along_an_arc():
  *pose, state = drive()
  rest = np.broadcast_to(np.array([[3.0, 4.0], [-2.0, 9.0]]), (STEPS, 2, 2))
  place = seen(rest, *pose)
  np.testing.assert_allclose(geometry.carried(place, state, SECONDS), place[:, 1:], atol=1e-4)


def test_going_on_turns_along_a_circle_brakes_to_a_stand_and_stays():
  x, y, _, state = drive()
  ahead = geometry.going_on(state[:, :1], STEPS - 1, SECONDS)[0, 0]
  np.testing.assert_allclose(ahead, np.stack([x, y], -1)[1:], atol=1e-4)
  braking = jnp.array([[[4.0, 0.0, -4.0]]])  # stands after a second and 2 m
  np.testing.assert_allclose(geometry.going_on(braking, 4, SECONDS)[0, 0, :, 0], [1.5, 2, 2, 2])


def test_velocities_are_over_the_ground_and_follow_agents_not_slots():
  x, y, yaw, state = drive()
  velocity = np.array([[5.0, -1.0], [0.0, 0.0], [2.0, 7.0]])
  place = np.array([[9.0, 1.0], [4.0, 4.0], [-3.0, 2.0]]) + (np.arange(STEPS) * SECONDS)[
    :, None, None
  ] * np.array(velocity)
  here = seen(place, x, y, yaw)
  agent = jnp.array([[[7, 8, 9]] * STEPS])
  present = jnp.ones((1, STEPS, 3), bool).at[0, 1, 2].set(False)  # the third is away at step 1
  order = jnp.array([[[0, 1, 2], [2, 0, 1], [1, 2, 0]]])  # slots are dealt anew at every step
  dealt = [jnp.take_along_axis(value, order, axis=2) for value in (agent, present)]
  boxes = jnp.take_along_axis(here.at[0, 1, 2].set(jnp.nan), order[..., None], axis=2)
  found, known = geometry.velocities(boxes, *dealt, state, SECONDS)
  back = jnp.argsort(order, axis=-1)
  found = np.asarray(jnp.take_along_axis(found, back[..., None], axis=2))[0]
  known = np.asarray(jnp.take_along_axis(known, back, axis=2))[0]
  assert known.tolist() == [[False] * 3, [True, True, False], [True, True, False]]
  np.testing.assert_array_equal(found[~known], 0)
  for t in (1, 2):
    cos, sin = np.cos(yaw[t]), np.sin(yaw[t])
    wanted = np.stack(
      [cos * velocity[:, 0] + sin * velocity[:, 1], cos * velocity[:, 1] - sin * velocity[:, 0]], -1
    )
    np.testing.assert_allclose(found[t, :2], wanted[:2], atol=1e-3)


def test_tokens_of_a_grid_are_at_the_centres_of_their_patches_and_others_nowhere():
  grid = GridConfig(cells=4, patch=2, cell_m=1.0, rear_m=1.0)
  np.testing.assert_array_equal(geometry.patch_centres(grid), [[0, -1], [0, 1], [2, -1], [2, 1]])
  found = geometry.token_places(perception_config("full", SENSORS, 1))
  grids, start = ("raster", "lidar"), 0
  for name, sensor in SENSORS.items():
    mine = found[start : start + sensor.places]
    assert np.isfinite(mine).all() if name in grids else np.isnan(mine).all(), name
    start += sensor.places
  assert start == len(found)


def test_going_straight_on_keeps_the_velocity():
  place, velocity = jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.array([[2.0, 0.0], [0.0, -4.0]])
  expected = [[[2, 2], [3, 2]], [[0, -2], [0, -4]]]
  np.testing.assert_allclose(geometry.straight_on(place, velocity, 2, SECONDS), expected)
  ego = geometry.ego_straight_on(drive()[-1], 2, SECONDS)
  np.testing.assert_allclose(ego[0, 0], [[SPEED * SECONDS, 0], [2 * SPEED * SECONDS, 0]])
