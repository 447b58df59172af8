"""Camera and LiDAR on real frames: masked reconstruction falls below a constant, also through the doors of any run."""

import pytest

from benchmarks import blind_reconstruction, real_sensors
from data import build_kitti, dataset_writer
from experiments import config as configs
from experiments import run
from experiments.configs import perception
from tests.data.random_clips import tiny_config


@pytest.mark.parametrize("sensor", ["camera", "lidar"])
def test_masked_reconstruction_of_real_frames_falls(sensor, shared_data):
  shared_data("kitti/velodyne")
  clips, config = real_sensors.read(shared_data("kitti/image_02").parent)
  few = {name: value[::2] for name, value in clips.items()}
  first, last = real_sensors.ends(real_sensors.losses(sensor, few, config, 50, 0, width=16))
  assert sum(last) < 0.9 * sum(first)
  assert sum(last) / len(last) < real_sensors.constant(sensor, few, config)


def test_a_run_on_real_frames_beats_the_mean_of_every_place_on_later_ones(shared_data, tmp_path):
  """Built, trained as configured, and judged after the last frame it learned from."""
  shared_data("kitti/velodyne")
  found = {"paired": shared_data("kitti/image_02").parent}
  clips = tiny_config(
    rig="kitti", steps=2, step_seconds=0.1, image_height=32, image_width=96, beams=16, azimuths=90, grid=16,
    cell_m=4.0, rear_m=32.0,
  )  # fmt: skip
  examples = build_kitti.examples(found, clips, gap=2)
  splits = tuple(build_kitti.FRACTIONS)
  dataset_writer.write_dataset(tmp_path / "kitti", examples, clips, ("paired",), splits, {}, ("clips",))
  values = perception.get_config("masked:tiny").to_dict()
  values["model"] |= dict(sensors="camera", camera_patch=16, grid_patch=4, width=16, layers=1, mixing="full")
  values["loss"] |= dict(standardise=True, hide=values["loss"]["hide"] | dict(ratio=0.5))
  values["loss"]["predictor"] |= dict(layers=1)
  values["data"] |= dict(dataset=str(tmp_path / "kitti"), batch_windows=8)
  values["mesh"] |= dict(data=8)
  values["optimizer"] |= dict(learning_rate=0.02)
  values |= dict(tokens=60 * 8 * 2 * 12)
  run.train(str(tmp_path / "run"), configs.from_dict(values), values)
  costs = blind_reconstruction.compare(str(tmp_path / "run"), "")["camera"]
  assert costs["model"] < min(costs["place"], costs["constant"])
