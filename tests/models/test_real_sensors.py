"""The perception model's camera and LiDAR paths on real frames: masked reconstruction falls below a constant."""

import pytest

from benchmarks import real_sensors


@pytest.mark.parametrize("sensor", ["camera", "lidar"])
def test_masked_reconstruction_of_real_frames_falls(sensor, shared_data):
  shared_data("kitti/velodyne")
  clips, config = real_sensors.read(shared_data("kitti/image_02").parent)
  few = {name: value[::2] for name, value in clips.items()}
  first, last = real_sensors.ends(real_sensors.losses(sensor, few, config, 50, 0, width=16))
  assert sum(last) < 0.9 * sum(first)
  assert sum(last) / len(last) < real_sensors.constant(sensor, few, config)
