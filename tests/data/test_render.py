"""The renderer as a program: splits carried over, clips that read back, what it refuses."""

import subprocess
import sys

import numpy as np
import pytest

from data import dataset_writer, markov, records
from data.datasets import open_dataset
from data.errors import BadInput
from tests.data import tiny_datasets

SMALL = ("--clips_per_scene=2", "--clip_steps=2", "--grid=16", "--cell_m=4", "--image_height=8", "--image_width=16",
         "--beams=4", "--azimuths=16", "--futures=2", "--workers=1")  # fmt: skip


def render(dataset, out, *flags):
  return subprocess.run(
    [sys.executable, "-m", "data.render", f"--dataset={dataset}", f"--out={out}", *flags],
    capture_output=True, text=True, check=False, timeout=120,
  )  # fmt: skip


def test_splits_are_carried_over_and_clips_read_back(tmp_path):
  tiny_datasets.write(tmp_path / "scenes", tiny_datasets.scene_examples(4))
  done = render(tmp_path / "scenes", tmp_path / "clips", "--rig=pair", *SMALL)
  assert done.returncode == 0, done.stderr
  source, dataset = open_dataset(tmp_path / "scenes"), open_dataset(tmp_path / "clips")
  assert dataset.domains == source.domains and dataset.clip.rig == "pair" and dataset.clip.points == 64
  with pytest.raises(BadInput, match="holds clips, no windows"):
    _ = dataset.window
  with pytest.raises(BadInput, match="holds windows, no clips"):
    _ = source.clip
  row = records.row_dtype(dataset.clip.spec)
  number = 0
  for split in ("train", "validation"):
    clips = dataset.records("clips", split)
    counts = dataset.manifest["splits"][split]
    assert (counts["scenes"], counts["clips"], len(clips)) == (2, 4, 4)  # two of each of two scenes
    found = [np.frombuffer(clips[i], row)[0] for i in range(4)]
    scenes = list(source.scenes(split))
    for clip in found:
      scene = scenes[clip["scene"] - number]  # numbered over all splits
      near = np.abs(scene.position_TxAx2 - clip["place_Tx3"][0, :2]).max(-1)
      assert near.min() < 1e-4
    number += len(scenes)
  assert dataset.manifest["splits"]["train"]["tokens"] == 4 * 2 * 16**2


def test_a_dataset_without_scenes_is_refused(tmp_path):
  job = markov.plan(0, 3, 8, 0.5)[0]
  windows = markov.windows(job, tiny_datasets.WINDOW, 0)
  examples = [(split, None, windows) for split in ("train", "validation")]
  dataset_writer.write_dataset(
    tmp_path / "tokens",
    examples,
    tiny_datasets.WINDOW,
    (job.domain,),
    ("train", "validation"),
    {},
    ("windows",),
  )
  done = render(tmp_path / "tokens", tmp_path / "clips", "--rig=front", *SMALL)
  assert done.returncode == 2 and "holds no scenes to render" in done.stderr
  done = render(tmp_path / "tokens", tmp_path / "clips", "--rig=trio", *SMALL)
  assert done.returncode == 2 and "unknown rig 'trio'" in done.stderr
