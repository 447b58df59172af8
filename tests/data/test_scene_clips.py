"""Clips of a small town: labels against the tracks, sensors against each other, and nothing depends on the frame."""

import dataclasses
import functools

import numpy as np
import pytest

from data import labels, motion, rigs
from data.clips import (
  BOX_CLASSES,
  CELL_CLASSES,
  FIRST_BOX_CLASS,
  PIXEL_CLASSES,
  RARE,
  RASTER_CHANNELS,
  ClipConfig,
)
from data.datasets import FORMAT_VERSION
from data.errors import BadInput
from data.lidar import NOISE_LIMIT
from data.scene_clips import clips_of, drives
from data.world import look, prepare, to_ego, to_scene, view, wrap
from tests.data.small_town import moved, town
from tests.data.test_raycast import surface_distance

CONFIG = ClipConfig(
  rig="pair", steps=3, step_seconds=0.5, image_height=16, image_width=32, beams=16, azimuths=90, grid=64, cell_m=1.0,
  rear_m=16.0, boxes=6, futures=4, elements=16, element_points=5,
)  # fmt: skip
FINE = dataclasses.replace(CONFIG, image_height=120, image_width=240, beams=24, azimuths=180, steps=1)
PINNED = {
  "images_TxCxHxWx3": 2263228.2,
  "points_TxPx4": 132725.2,
  "raster_TxHxWxC": 7625037.5,
  "cells_TxHxW": 35167.9,
  "boxes_TxKx7": 610.0,
  "elements_TxMxPx2": 4389.0,
}


def only_ego(scene):
  """The scene with agent 0 the only one that lasts long enough to be the ego of a clip from the first frame on."""
  valid = scene.valid_TxA.copy()
  valid[CONFIG.steps, 1:] = False
  return dataclasses.replace(scene, valid_TxA=valid)


@functools.cache
def clip(rig: str = "pair", count: int = 1, **metadata):
  return clips_of(town(**metadata), dataclasses.replace(CONFIG, rig=rig), count, 0, 2)[0]


@pytest.mark.parametrize("rig", rigs.RIGS)
def test_clips_match_the_spec_of_every_rig(rig):
  config, found = dataclasses.replace(CONFIG, rig=rig), clip(rig)
  assert set(found) == set(config.spec)
  for name, (shape, dtype) in config.spec.items():
    assert (found[name].shape, found[name].dtype) == (shape, np.dtype(dtype)), name
  assert found["domain"] == 2
  assert not found["visible_TxK"][~found["present_TxK"]].any()
  if rig == "tracks":
    np.testing.assert_array_equal(found["visible_TxK"], found["present_TxK"])


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
  first, again, other = (clips_of(town(), CONFIG, 2, seed, 0) for seed in (3, 3, 4))
  for a, b in zip(first, again, strict=True):
    assert all(np.array_equal(a[name], b[name]) for name in CONFIG.spec)
  assert any(not np.array_equal(a["images_TxCxHxWx3"], b["images_TxCxHxWx3"])
             for a, b in zip(first, other, strict=True))  # fmt: skip


def test_futures_are_where_the_boxes_will_be():
  found = clip()
  place, boxes = found["place_Tx3"].astype(np.float64), found["boxes_TxKx7"]
  checked = 0
  for t in range(CONFIG.steps):
    for f in range(CONFIG.steps - t - 1):
      both = found["futures_mask_TxKxF"][t, :, f] & found["present_TxK"][t + f + 1]
      later = to_ego(to_scene(boxes[t + f + 1, :, :2].astype(np.float64), place[t + f + 1]), place[t])
      np.testing.assert_allclose(found["futures_TxKxFx2"][t, both, f], later[both], atol=1e-3)
      np.testing.assert_allclose(
        found["future_TxFx2"][t, f], to_ego(place[t + f + 1, :2], place[t]), atol=1e-3
      )
      checked += both.sum()
  assert checked > 5 and found["future_mask_TxF"].all()


def test_actions_and_state_describe_the_drive():
  scene, frames = town(), np.array([2, 3, 4])
  drive = labels.drive(scene, CONFIG, 0, frames, 1)
  assert (drive["actions_TxF"][drive["actions_mask_TxF"]] == motion.KEEP).all() and drive[
    "actions_mask_TxF"
  ].all()
  np.testing.assert_allclose(drive["ego_TxS"], np.tile([8.0, 0, 0, 0], (3, 1)), atol=1e-4)
  np.testing.assert_allclose(drive["future_TxFx2"][0, :, 0], [4, 8, 12, 16], atol=1e-4)
  late = labels.drive(scene, CONFIG, 0, np.array([11, 12, 13]), 1)  # of 16 frames
  assert late["future_mask_TxF"].sum(-1).tolist() == [4, 3, 2]
  assert late["actions_mask_TxF"].sum(-1).tolist() == [4, 3, 2]


def test_rare_events_are_found():
  scene, frames = town(), np.array([2, 3, 4])
  boxes = labels.agents(scene, CONFIG, 0, frames, 1)
  assert RARE[labels.rare(scene, CONFIG, boxes, 0, frames, 1)] == "none"
  velocity = scene.velocity_TxAx2.copy()
  velocity[5:, 0] = 6.0, 0.0
  braking = dataclasses.replace(scene, velocity_TxAx2=velocity)
  assert RARE[labels.rare(braking, CONFIG, boxes, 0, frames, 1)] == "hard_brake"
  heading = scene.heading_TxA.copy()
  heading[5:, 0] = 1.0
  assert (
    RARE[labels.rare(dataclasses.replace(scene, heading_TxA=heading), CONFIG, boxes, 0, frames, 1)]
    == "sharp_turn"
  )
  position = scene.position_TxAx2.copy()
  position[:, 4] = position[:, 0] + np.float32([8, 1])
  close = dataclasses.replace(scene, position_TxAx2=position)
  boxes = labels.agents(close, CONFIG, 0, frames, 1)
  assert RARE[labels.rare(close, CONFIG, boxes, 0, frames, 1)] == "close_vulnerable"


def test_the_cell_of_a_box_holds_its_class_and_velocity():
  found = clip()
  for t, k in np.argwhere(found["present_TxK"]):
    x, y = found["boxes_TxKx7"][t, k, :2]
    i, j = int(np.floor(x + CONFIG.rear_m)), int(np.floor(y + CONFIG.grid / 2))
    assert found["cells_TxHxW"][t, i, j] == FIRST_BOX_CLASS + found["class_K"][k]
    vulnerable = BOX_CLASSES[found["class_K"][k]] in ("two_wheeler", "pedestrian")
    seen = dict(zip(RASTER_CHANNELS, found["raster_TxHxWxC"][t, i, j], strict=True))
    assert (seen["vehicle"], seen["vulnerable"]) == ((0, 255) if vulnerable else (255, 0))
    moves = to_ego(found["futures_TxKxFx2"][t, k, 0] - found["boxes_TxKx7"][t, k, :2], np.zeros(3)) / 0.5
    assert abs(seen["velocity_x"] - (128 + 4 * moves[0])) <= 1  # constant speed


def test_the_map_is_drawn_where_it_is():
  scene = only_ego(town())
  found = clips_of(scene, dataclasses.replace(CONFIG, rig="tracks"), 1, 0, 0)[0]  # the ego starts at x = 0
  cells, raster = found["cells_TxHxW"][0], found["raster_TxHxWxC"][0]
  channel = {name: raster[..., n] for n, name in enumerate(RASTER_CHANNELS)}

  def at(x, y):
    return int(np.floor(x + CONFIG.rear_m)), int(np.floor(y + CONFIG.grid / 2))

  assert CELL_CLASSES[cells[at(7.5, 0.5)]] == "road" and CELL_CLASSES[cells[at(7.5, -3.6)]] == "sidewalk"
  assert CELL_CLASSES[cells[at(25.0, 0.5)]] == "crossing" and channel["crossing"][at(25.0, 0.5)] == 255
  assert CELL_CLASSES[cells[at(7.5, 5.3)]] == "marking" and CELL_CLASSES[cells[at(7.5, -6.5)]] == "off_road"
  assert channel["route"][at(9.5, 0.2)] == 255 and channel["route"][at(9.5, 4.5)] == 0
  assert not channel["stop"].any()  # the light is 60 m ahead, the grid ends after 48 m
  scene = dataclasses.replace(scene, position_TxAx2=scene.position_TxAx2 + np.float32([30, 0]))
  found = clips_of(scene, dataclasses.replace(CONFIG, rig="tracks"), 1, 0, 0)[0]
  stop = found["raster_TxHxWxC"][0, ..., RASTER_CHANNELS.index("stop")]
  assert stop[at(25.5, 0.2)] == 255 and stop[at(20.5, 0.2)] == 0 and stop[at(31.5, 0.2)] == 0


def test_elements_are_the_lines_of_the_map():
  found = clip("tracks")
  xy, mask = found["elements_TxMxPx2"][0], found["element_mask_TxM"][0]
  assert mask.sum() >= 6
  pose = found["place_Tx3"][0].astype(np.float64)
  for line, kind in zip(xy[mask], found["element_class_TxM"][0][mask], strict=True):
    there = to_scene(line.astype(np.float64), pose)
    if kind == 3:
      np.testing.assert_allclose(there[:, 0], 25, atol=1e-3)
    else:
      lateral = {0: (0.0, 3.5), 1: (1.75,), 2: (-1.75, 1.75, 5.25)}[int(kind)]
      assert np.abs(there[:, 1, None] - np.array(lateral)).min(-1).max() < 1e-3
    gaps = np.hypot(*np.diff(line, axis=0).T)
    assert np.ptp(gaps) < 1e-3


def test_lidar_points_lie_on_the_boxes_they_claim():
  world = prepare(town())
  found = clips_of(town(), dataclasses.replace(FINE, rig="lidar"), 1, 0, 0)[0]
  pose = found["place_Tx3"][0].astype(np.float64)
  scene = world.scene
  frame, ego = np.argwhere(np.isclose(scene.position_TxAx2, pose[:2], atol=1e-4).all(-1))[0]
  seen_from = view(world, int(frame), int(ego))
  echo, kinds = found["echo_TxP"][0], found["point_class_TxP"][0]
  points = found["points_TxPx4"][0].astype(np.float64)
  for n, kind in enumerate(seen_from.class_N):
    assert PIXEL_CLASSES[kind] != "sky", n
  on_boxes = echo & (kinds >= FIRST_BOX_CLASS)
  assert on_boxes.sum() > 100
  for kind in np.unique(kinds[on_boxes]):
    boxes = seen_from.boxes_Nx7[seen_from.class_N == kind]
    own = points[on_boxes & (kinds == kind), :3]
    nearest = np.min([surface_distance(own, np.tile(box, (len(own), 1))) for box in boxes], 0)
    assert nearest.max() < NOISE_LIMIT + 0.06  # float16 rounds to 0.03 m at 60 m
  flat = echo & (kinds < CELL_CLASSES.index("building"))
  assert np.abs(points[flat, 2]).max() < 0.08 and (points[~echo] == 0).all()


def test_camera_and_lidar_agree_where_both_see():
  scene = town()
  seen_from = view(prepare(scene), 4, 0)
  lidar_rays = rigs.lidar_rays(FINE.lidar, FINE.beams, FINE.azimuths)
  sky = PIXEL_CLASSES.index("sky")
  met = look(seen_from, np.asarray(FINE.lidar.position, np.float32), lidar_rays, sky)
  agree = []
  for camera, rays in zip(FINE.cameras, FINE.rays_CxHxWx3, strict=True):
    size = (FINE.image_height, FINE.image_width)
    seen = look(seen_from, np.asarray(camera.position, np.float32), rays.reshape(-1, 3), sky)
    pixel, inside = rigs.project(camera, *size, met.point_Rx3)
    inside &= met.distance_R < 40
    at = pixel[:, 0] * size[1] + pixel[:, 1]
    distance = np.linalg.norm(met.point_Rx3 - np.asarray(camera.position), axis=-1)
    unoccluded = inside & (np.abs(seen.distance_R[at] - distance) < 0.05 * distance)
    assert unoccluded.sum() > 300
    agree.append(met.class_R[unoccluded] == seen.class_R[at][unoccluded])
  assert np.concatenate(agree).mean() >= 0.95


@pytest.mark.parametrize("angle", [np.pi / 2, 2.3])
def test_turning_the_whole_scene_changes_nothing(angle):
  scene = only_ego(town())
  (a,), (b,) = (clips_of(s, CONFIG, 1, 0, 0) for s in (scene, moved(scene, angle, (40.0, -25.0))))
  for name in ("boxes_TxKx7", "futures_TxKxFx2", "ego_TxS", "future_TxFx2"):
    np.testing.assert_allclose(a[name], b[name], atol=2e-3, err_msg=name)
  for name in ("actions_TxF", "agent_K", "present_TxK", "futures_mask_TxKxF", "actions_mask_TxF"):
    np.testing.assert_array_equal(a[name], b[name], name)
  turned = wrap(b["place_Tx3"][:, 2] - a["place_Tx3"][:, 2] - angle)
  np.testing.assert_allclose(turned, 0, atol=1e-5)
  # Painted surfaces are sampled on another grid: only borders may differ.
  assert (a["cells_TxHxW"] == b["cells_TxHxW"]).mean() > 0.97
  assert (a["pixel_class_TxCxHxW"] == b["pixel_class_TxCxHxW"]).mean() > 0.95


def test_weather_and_light_change_what_sensors_see_and_nothing_else():
  clear, fog, night = clip(), clip(weather="fog"), clip(light="night")
  np.testing.assert_array_equal(clear["boxes_TxKx7"], fog["boxes_TxKx7"])
  np.testing.assert_array_equal(clear["pixel_class_TxCxHxW"], fog["pixel_class_TxCxHxW"])
  assert fog["echo_TxP"].mean() < 0.8 * clear["echo_TxP"].mean()
  assert night["images_TxCxHxWx3"].mean() < 0.4 * clear["images_TxCxHxWx3"].mean()
  far = clear["pixel_class_TxCxHxW"] == PIXEL_CLASSES.index("building")
  assert fog["images_TxCxHxWx3"][far].std() < clear["images_TxCxHxWx3"][far].std()


def test_unknown_weather_is_drawn_and_both_axes_occur():
  found = [clips_of(town(scene_id=f"town-{n}", weather="", light=""),
                    dataclasses.replace(CONFIG, rig="tracks", steps=1), 1, 0, 0)[0] for n in range(24)]  # fmt: skip
  assert len({int(c["weather"]) for c in found}) >= 3 and {int(c["light"]) for c in found} == {0, 1, 2}


def test_egos_drive_last_and_mostly_move():
  scene = town()
  config = dataclasses.replace(CONFIG, rig="tracks")
  found = drives(scene, config, 8, 1, np.random.default_rng(0))
  assert len(found) >= 6 and {ego for _, ego in found} <= {0, 1, 2, 5}  # no bicycle, nobody on foot
  assert all(start + config.steps < len(scene.valid_TxA) for start, _ in found)
  assert drives(scene, dataclasses.replace(config, steps=16), 8, 1, np.random.default_rng(0)) == []


def test_frames_that_do_not_divide_a_step_are_refused():
  with pytest.raises(BadInput, match=r"metadata.dt 0.5 s does not divide a step of 0.7 s"):
    clips_of(town(), dataclasses.replace(CONFIG, step_seconds=0.7), 1, 0, 0)


def test_what_a_clip_means_is_pinned():
  """A change here makes old clips mean something else: raise data.datasets.FORMAT_VERSION, then these numbers."""
  found = clips_of(only_ego(town()), CONFIG, 1, 0, 0)[0]
  sums = {}
  for name in (
    "images_TxCxHxWx3",
    "points_TxPx4",
    "raster_TxHxWxC",
    "cells_TxHxW",
    "boxes_TxKx7",
    "elements_TxMxPx2",
  ):
    value = found[name].astype(np.float64)
    weights = 2 + np.cos(np.arange(value.size)).reshape(value.shape)
    sums[name] = float((weights * np.abs(value)).sum())
  assert FORMAT_VERSION == 4
  assert sums == pytest.approx(PINNED, rel=1e-3)
