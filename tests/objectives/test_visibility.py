"""What sensors can have seen: echoes in turned boxes, the edges of a camera's image."""

import jax.numpy as jnp
import numpy as np

from data import rigs
from objectives import visibility

# A car ahead, turned to the left by a right angle: 4 m along y, 2 m along x, 1.5 m high on the ground.
CAR = jnp.array([[[[10.0, 3.0, 0.75, 4.0, 2.0, 1.5, np.pi / 2]]]])
THERE = jnp.ones((1, 1, 1), bool)


def echoed(point, echo=True, present=THERE):
  points = jnp.array([[[[*point, 0.5]]]], jnp.float16)
  return bool(visibility.echoed(points, jnp.full((1, 1, 1), echo), CAR, present)[0, 0, 0])


def test_an_echo_counts_within_the_turned_box_and_above_the_ground():
  assert echoed((10.9, 4.9, 1.0))
  assert not echoed((11.5, 3.0, 1.0)) and not echoed((10.0, 5.5, 1.0))
  assert not echoed((10.0, 3.0, 0.0))  # the road below it
  assert not echoed((10.0, 3.0, 1.0), echo=False)
  assert not echoed((10.0, 3.0, 1.0), present=~THERE)


def test_a_box_is_in_view_where_its_centre_projects_into_the_image():
  """Against data.rigs.project, for centres all around."""
  height, width = 32, 64
  cameras = rigs.rig("pair").cameras
  wide = np.array([np.tan(0.5 * camera.fov) for camera in cameras])
  view = (
    jnp.array([camera.position for camera in cameras]),
    jnp.array([rigs.rotation(camera) for camera in cameras]),
    jnp.asarray(np.stack([wide, wide * height / width], -1)),
  )
  centres = np.random.default_rng(0).uniform((-30, -30, 0), (30, 30, 6), (200, 3))
  boxes = np.concatenate([centres, np.ones((200, 4))], -1)[None, None]
  wanted = np.any([rigs.project(camera, height, width, centres)[1] for camera in cameras], axis=0)
  assert 20 < wanted.sum() < 180
  found = visibility.in_view(jnp.asarray(boxes), jnp.ones((1, 1, 200), bool), *view)
  np.testing.assert_array_equal(found[0, 0], wanted)
