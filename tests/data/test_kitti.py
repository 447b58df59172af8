"""KITTI in the frames of a clip: drawn images, planted points, poses of a known curve; and the real recordings."""

import math

import numpy as np
import pytest
from PIL import Image

from data import build_kitti, kitti, motion
from data.clips import ClipConfig
from data.errors import BadInput
from data.rigs import RIGS, Camera, Lidar, lidar_rays
from tests.data.random_clips import tiny_config

LIDAR = Lidar((0.0, 0.0, 2.0), math.radians(-20.0), math.radians(10.0), 60.0)
REAL = ClipConfig(
  rig="pair", steps=4, step_seconds=0.5, image_height=32, image_width=64, beams=16, azimuths=180, grid=16,
  cell_m=4.0, rear_m=16.0, boxes=4, futures=3, elements=4, element_points=4,
)  # fmt: skip


def write_poses(path, track_Nx3):
  """Poses as KITTI writes them (x right, y down, z forward) of a ground track x, y, yaw."""
  rows = []
  for x, y, yaw in track_Nx3:
    turn = [[math.cos(yaw), 0, -math.sin(yaw)], [0, 1, 0], [math.sin(yaw), 0, math.cos(yaw)]]
    rows.append(np.concatenate([turn, [[-y], [0], [x]]], 1).ravel())
  np.savetxt(path, rows)


def circle(frames: int, speed: float, radius: float) -> np.ndarray:
  """To the left, from the origin along x."""
  yaw = speed * kitti.FRAME_SECONDS * np.arange(frames) / radius
  return np.stack([radius * np.sin(yaw), radius * (1 - np.cos(yaw)), yaw], -1)


def test_poses_become_a_track_that_turns_left_when_the_camera_does(tmp_path):
  track = circle(40, 10.0, 50.0)
  write_poses(tmp_path / "poses.txt", track)
  found = kitti.ground_track(kitti.read_poses(tmp_path / "poses.txt"))
  np.testing.assert_allclose(found, track, atol=1e-6)
  states = kitti.ego_states(found, kitti.FRAME_SECONDS)[2:-2]
  np.testing.assert_allclose(states[:, 0], 10.0, atol=1e-2)
  np.testing.assert_allclose(states[:, 1], 0.2, atol=1e-3)
  np.testing.assert_allclose(states[:, 2], 0.0, atol=1e-2)
  np.testing.assert_allclose(states[:, 3], 2.0, atol=1e-2)


def test_a_picture_is_seen_where_its_directions_are():
  """Left half red, top half green, seen level and ahead with half the picture's field of view."""
  picture = np.zeros((100, 200, 3), np.uint8)
  picture[:, :100, 0] = picture[:50, :, 1] = 200
  fov = 2 * math.atan(50 / 100)  # columns 50 to 150, and rows 25 to 75
  seen = kitti.see(picture, 100.0, (100.0, 50.0), Camera("", (0, 0, 0), 0.0, 0.0, fov), 8, 16)
  assert (seen[:, :8, 0] == 200).all() and not seen[:, 8:, 0].any()
  assert (seen[:4, :, 1] == 200).all() and not seen[4:, :, 1].any()
  wide = kitti.see(picture, 100.0, (100.0, 50.0), Camera("", (0, 0, 0), 0.0, 0.0, 2 * math.atan(2.0)), 16, 16)
  inside = np.zeros((16, 16), bool)
  inside[6:8, 4:12] = True  # nothing is known of what is outside the picture
  np.testing.assert_array_equal(wide[..., 1] == 200, inside)
  back = kitti.see(picture, 100.0, (100.0, 50.0), Camera("", (0, 0, 0), math.pi, 0.0, fov), 8, 16)
  assert not back.any()


def test_a_sweep_is_given_ray_by_ray():
  """A point on every second ray, some at 10 m and hidden ones behind them, come back where the rays are."""
  rays = lidar_rays(LIDAR, 4, 16)
  hit = np.arange(64) % 2 == 0
  near = rays[hit] * 10.0 + [0, 0, 2.0 - kitti.LIDAR_HEIGHT]
  hidden = rays[hit] * 30.0 + [0, 0, 2.0 - kitti.LIDAR_HEIGHT]
  far, between = rays[1:2] * 61.0, rays[3:4] * [5.0, 5.0, -40.0]
  sweep = np.concatenate([near, hidden, far, between]).astype(np.float32)
  sweep = np.concatenate([sweep, np.linspace(0, 1, len(sweep), dtype=np.float32)[:, None]], -1)
  points, echo = kitti.sweep_points(sweep, LIDAR, 4, 16)
  np.testing.assert_array_equal(echo, hit)
  np.testing.assert_allclose(points[hit, :3], rays[hit] * 10.0 + [0, 0, 2.0], atol=0.01)
  np.testing.assert_allclose(points[hit, 3], sweep[: hit.sum(), 3], atol=1e-3)
  assert not points[~hit].any()


def test_clips_of_a_written_sequence_hold_motion_and_no_labels(tmp_path):
  config = tiny_config(rig="front", steps=3, step_seconds=0.5, futures=3)
  write_poses(tmp_path / "poses.txt", circle(45, 8.0, 40.0))
  (tmp_path / "calib.txt").write_text("20 0 16 0 0 20 8 0 0 0 1 0\n" * 2)
  (tmp_path / "image_l").mkdir()
  for i in range(45):
    Image.fromarray(np.full((16, 32), i + 1, np.uint8)).save(tmp_path / f"image_l/{i:06d}.png")
  clips = kitti.sequence_clips(tmp_path, config)
  assert len(clips) == 3
  for clip in clips:
    assert {name: (value.shape, value.dtype) for name, value in clip.items()} == {
      name: (shape, np.dtype(dtype)) for name, (shape, dtype) in config.spec.items()
    }
    assert not clip["present_TxK"].any() and not clip["element_mask_TxM"].any()
  assert clips[1]["images_TxCxHxWx3"].max((1, 2, 3, 4)).tolist() == [16, 21, 26]  # frames 15, 20 and 25
  # From every frame the circle looks the same: after 0.5 s and an angle of 0.1 rad.
  expected = [[40 * math.sin(0.1 * k), 40 * (1 - math.cos(0.1 * k))] for k in (1, 2, 3)]
  np.testing.assert_allclose(clips[1]["future_TxFx2"][1], expected, atol=1e-3)
  acceleration, yaw_rate = motion.split(clips[0]["actions_TxF"][1])
  assert (np.abs(acceleration) <= 0.3).all() and (np.abs(yaw_rate - 0.2) <= 0.1).all()
  # Frames 30, 35 and 40 of 45: what comes after the last picture is unknown.
  assert clips[2]["future_mask_TxF"].astype(int).tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_recordings_are_split_by_time_with_a_gap(tmp_path):
  """Frames, and points where there are any, are as bright as their number: none is on two sides, nor in the gap."""
  config = tiny_config(rig="kitti", steps=2, step_seconds=0.1)
  for folder, frames in (("image_02", 20), ("velodyne", 20), ("seq/image_l", 21)):
    (tmp_path / folder).mkdir(parents=True)
    for i in range(frames):
      if folder == "velodyne":
        np.array([[5.0, 0, 0, (i + 1) / 64]], "<f4").tofile(tmp_path / folder / f"{i:03d}.bin")
      else:
        Image.fromarray(np.full((16, 32), i + 1, np.uint8)).save(tmp_path / folder / f"{i:03d}.png")
  write_poses(tmp_path / "seq" / "poses.txt", circle(21, 8.0, 40.0))
  (tmp_path / "seq" / "calib.txt").write_text("20 0 16 0 0 20 8 0 0 0 1 0\n" * 2)
  held = {}
  for split, _, clips in build_kitti.examples(build_kitti.recordings(tmp_path), config, gap=2):
    assert len({int(clip["domain"]) for clip in clips}) == 1
    seen = [64 * clip["points_TxPx4"][..., 3].astype(float).max(-1) for clip in clips]
    if not (lidar := bool(clips[0]["echo_TxP"].any())):
      seen = [clip["images_TxCxHxWx3"].max((1, 2, 3, 4)) for clip in clips]
    held[int(clips[0]["domain"]), split] = int(np.min(seen)), int(np.max(seen)), len(clips), lidar
  # Of 20 frames, 18 beside the gap: 13 and 5, every clip of them; of 21, two by two, 13 and 5 of the first 20.
  assert held == {
    (0, "train"): (1, 13, 12, True),
    (0, "validation"): (16, 20, 4, True),
    (1, "train"): (1, 12, 6, False),
    (1, "validation"): (17, 20, 2, False),
  }
  with pytest.raises(BadInput, match="neither velodyne/ nor a sequence"):
    build_kitti.recordings(tmp_path / "seq")


def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path):
  (tmp_path / "a.bin").write_bytes(b"\0" * 20)
  with pytest.raises(BadInput, match="20 bytes are no sweep"):
    kitti.read_sweep(tmp_path / "a.bin")
  (tmp_path / "a.png").write_bytes(b"no image")
  with pytest.raises(BadInput, match="not readable as an image"):
    kitti.read_image(tmp_path / "a.png")
  (tmp_path / "a.txt").write_text("1 2 3\n")
  with pytest.raises(BadInput, match="rows of 3 numbers"):
    kitti.read_poses(tmp_path / "a.txt")
  with pytest.raises(BadInput, match="no multiple of"):
    kitti.sequence_clips(tmp_path, tiny_config(step_seconds=0.25))
  with pytest.raises(BadInput, match="0 images in image_02"):
    kitti.paired_clips(tmp_path, tiny_config())


def test_the_real_recordings_have_the_counts_of_their_description(shared_data):
  images = sorted(shared_data("kitti/image_02").glob("*.png"))
  sweeps = [kitti.read_sweep(path) for path in sorted(shared_data("kitti/velodyne").glob("*.bin"))]
  assert len(images) == len(sweeps) == 12
  assert kitti.read_image(images[0]).shape == (375, 1242, 3)
  assert sum(map(len, sweeps)) == 1_363_476
  assert max(sweep[:, 3].max() for sweep in sweeps) <= 1.0
  poses = kitti.read_poses(shared_data("kitti/poses") / "06.txt")
  track = kitti.ground_track(poses)
  assert len(track) == 1101
  # 1,233 m with the slope.
  assert round(np.hypot(*np.diff(track[:, :2], axis=0).T).sum()) in range(1225, 1240)
  np.testing.assert_array_equal(kitti.read_poses(shared_data("kitti/sequence_06") / "poses.txt"), poses[:51])


def test_the_real_frames_fill_a_rig(shared_data):
  clips = kitti.paired_clips(shared_data("kitti/image_02").parent, REAL)
  assert len(clips) == 9
  first = clips[0]
  front, rear = first["images_TxCxHxWx3"][:, 0], first["images_TxCxHxWx3"][:, 1]
  # The picture covers 621/720 of the camera's 45 degrees to each side, and 188/720 of its 0.5 up and down.
  assert abs(front.any(-1).mean() - 0.86 * 0.52) < 0.04 and not rear.any()
  assert first["echo_TxP"].mean() > 0.5
  points = first["points_TxPx4"][0][first["echo_TxP"][0]].astype(float)
  ground = points[(np.hypot(points[:, 0], points[:, 1]) < 15) & (points[:, 2] < 0.5)]
  assert abs(np.median(ground[:, 2])) < 0.15  # the road is at z = 0
  assert not first["future_mask_TxF"].any() and not first["ego_TxS"].any()

  drive = kitti.sequence_clips(shared_data("kitti/sequence_06"), REAL)
  assert len(drive) == 2
  assert drive[0]["future_mask_TxF"].all() and drive[0]["actions_mask_TxF"].all()
  speed = drive[0]["ego_TxS"][:, 0]
  assert ((speed > 8) & (speed < 16)).all()  # 59.9 m in 5 s
  assert RIGS["pair"].lidar and not drive[0]["echo_TxP"].any()
