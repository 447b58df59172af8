"""The clip format and the rigs: shapes of every rig, calibration against the pinhole, random batches."""

import dataclasses
import math

import numpy as np
import pytest

from data import records, rigs
from data.clips import BOX_CLASSES, CELL_CLASSES, FIRST_BOX_CLASS, RASTER_CHANNELS, ClipConfig
from data.errors import BadInput
from tests.data.random_clips import batch_name, random_clips, tiny_config


@pytest.mark.parametrize("name", rigs.RIGS)
def test_random_clips_match_the_spec_of_every_rig(name):
  config = tiny_config(rig=name)
  batch = random_clips(config, 2)
  assert set(batch) == {batch_name(field) for field in config.spec}
  for field, (shape, dtype) in config.spec.items():
    value = batch[batch_name(field)]
    assert (value.shape, value.dtype) == ((2, *shape), np.dtype(dtype)), field
  assert (batch["boxes_BxTxKx7"][~batch["present_BxTxK"]] == 0).all()
  assert config.rays_CxHxWx3.shape == batch["images_BxTxCxHxWx3"].shape[2:]
  row = records.row_dtype(config.spec)
  clip = {field: batch[batch_name(field)][1] for field in config.spec}
  back = np.frombuffer(records.encode_window(clip, row), row)[0]
  for field in config.spec:
    np.testing.assert_array_equal(back[field], clip[field], field)


def test_classes_and_channels_agree():
  assert CELL_CLASSES[FIRST_BOX_CLASS:] == BOX_CLASSES
  assert len(RASTER_CHANNELS) == len(set(RASTER_CHANNELS)) == 13


def test_a_config_survives_its_own_dictionary():
  config = tiny_config()
  assert ClipConfig(**dataclasses.asdict(config)) == config


@pytest.mark.parametrize(
  "camera", [c for rig in rigs.RIGS.values() for c in rig.cameras], ids=lambda c: c.name
)
def test_a_pixel_sees_what_projects_into_it(camera):
  rays = rigs.camera_rays(camera, 16, 32)
  np.testing.assert_allclose(np.linalg.norm(rays, axis=-1), 1, atol=1e-6)
  points = np.asarray(camera.position) + 7.0 * rays.reshape(-1, 3)
  pixel, inside = rigs.project(camera, 16, 32, points)
  assert inside.all()
  np.testing.assert_array_equal(pixel[:, 0] * 32 + pixel[:, 1], np.arange(16 * 32))
  assert not rigs.project(camera, 16, 32, 2 * np.asarray(camera.position) - points)[1].any()  # behind it


def test_the_middle_of_a_camera_looks_along_its_yaw_and_down_its_pitch():
  camera = rigs.Camera("side", (0.0, 0.0, 1.0), math.radians(90), math.radians(10), math.radians(60))
  middle = rigs.camera_rays(camera, 15, 31)[7, 15]
  np.testing.assert_allclose(middle, [0, math.cos(math.radians(10)), -math.sin(math.radians(10))], atol=1e-6)
  edges = rigs.camera_rays(dataclasses.replace(camera, pitch=0.0), 1, 4001)[0, [0, -1]]
  angle = math.acos(float(edges[0] @ edges[1]))
  assert angle == pytest.approx(math.radians(60), abs=1e-3)


def test_lidar_rays_go_round_to_the_left_from_the_lowest_beam():
  lidar = rigs.RIGS["lidar"].lidar
  rays = rigs.lidar_rays(lidar, 3, 4).reshape(3, 4, 3)
  np.testing.assert_allclose(np.arcsin(rays[:, 0, 2]), [lidar.lowest, (lidar.lowest + lidar.highest) / 2,
                                                        lidar.highest], atol=1e-6)  # fmt: skip
  np.testing.assert_allclose(rays[0, 1, :2], [0, math.cos(lidar.lowest)], atol=1e-6)


def test_cells_are_where_the_grid_says():
  config = tiny_config(grid=8, cell_m=2.0, rear_m=4.0)
  centres = config.centres_HxWx2
  assert centres[0, 0].tolist() == [-3.0, -7.0] and centres[-1, -1].tolist() == [11.0, 7.0]


def test_an_unknown_rig_is_named():
  with pytest.raises(BadInput, match="unknown rig 'trio'"):
    tiny_config(rig="trio").spec  # noqa: B018
