"""Clips as tokens and as windows of codes: whatever a clip holds, by the tokeniser of its shapes."""

import subprocess
import sys

import numpy as np
import pytest

from data import clip_codes, count_tokens, dataset_writer, datasets, tokens
from data.clip_tokens import clip_tokens
from data.clips import CELL_CLASSES
from data.codes import COMMAVQ, CodesConfig
from data.errors import BadInput
from data.grid_tokens import GridTokens
from data.patches import Patches
from data.reader import RecordSource
from tests.data import clip_dataset
from tests.data.random_clips import batch_name, random_clips, tiny_config


def test_windows_of_codes_have_the_shape_of_their_tokeniser():
  assert CodesConfig.of(COMMAVQ, 4, actions=1) == CodesConfig(steps=4, places=128, codes=1024, actions=1)
  with pytest.raises(BadInput, match="Patches: its tokens are vectors"):
    CodesConfig.of(Patches(8, 8, 3, 4, 1), 4, actions=1)


def test_clips_are_tokenised_by_the_arrays_they_hold():
  """Random clips of a rig with everything: counts of the shapes, and what comes back is what the clip holds."""
  config = tiny_config(steps=4)
  clip = {name: random_clips(config, 1)[batch_name(name)][0] for name in config.spec}
  found = clip_tokens(config)
  assert found.keys() == {"cells", "boxes", "lines", "pillars", "images", "video", "actions"}
  made = {name: one.encode(clip) for name, one in found.items()}
  for name, one in found.items():
    assert made[name].mask.shape[-1] == tokens.count(one.tokeniser, 4), name
    assert one.padded or made[name].mask.all()
  back = {name: one.tokeniser.decode(made[name]) for name, one in found.items()}
  np.testing.assert_array_equal(back["cells"], clip["cells_TxHxW"])
  np.testing.assert_array_equal(back["video"].swapaxes(0, 1), clip["images_TxCxHxWx3"])
  told = np.isfinite(back["boxes"]).all(-1)
  assert told.any() and not (told & ~clip["present_TxK"]).any()
  error = np.abs(back["boxes"][..., :6] - clip["boxes_TxKx7"][..., :6])[told]
  assert (error <= np.asarray(found["boxes"].tokeniser.max_error[:6]) + 1e-6).all()
  np.testing.assert_array_equal(
    back["boxes"][..., 7][told], np.broadcast_to(clip["class_K"], told.shape)[told]
  )
  assert clip_tokens(tiny_config(rig="tracks")).keys() == {"cells", "boxes", "lines", "actions"}


def test_codes_of_clips_have_one_more_where_some_may_say_nothing():
  config = tiny_config(steps=4)
  found = clip_tokens(config)
  assert clip_codes.codes_config(config, found["cells"]).codes == len(CELL_CLASSES)
  boxes = clip_codes.codes_config(config, found["boxes"])
  assert (boxes.codes, boxes.places) == (7 * 128 + 4 + 1, 4 * 8)
  with pytest.raises(BadInput, match="at most 65535"):
    CodesConfig.of(GridTokens(1, 1, 65536), 4, actions=1)


def test_boxes_of_clips_become_a_dataset_of_codes_and_are_counted(tmp_path):
  config = tiny_config(rig="tracks", steps=2)
  clips = random_clips(config, 5)
  records = [{name: clips[batch_name(name)][i] for name in config.spec} for i in range(5)]
  examples = [("train", None, records[:2]), ("train", None, records[2:3]), ("validation", None, records[3:])]
  splits = ("train", "validation")
  dataset_writer.write_dataset(
    tmp_path / "clips", examples, config, clip_dataset.DOMAINS, splits, {}, ("clips",)
  )
  command = [sys.executable, "-m", "data.build_codes", f"--clips={tmp_path / 'clips'}"]
  out = tmp_path / "codes"
  done = subprocess.run([*command, "--of=boxes", f"--out={out}"], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  source, written = datasets.open_dataset(tmp_path / "clips"), datasets.open_dataset(out)
  boxes = clip_tokens(config)["boxes"]
  assert written.config == clip_codes.codes_config(config, boxes)
  clips = RecordSource(source, "train", boxes.fields).stacked(np.arange(3))
  found = RecordSource(written, "train", ("codes_TxS",)).stacked(np.arange(3))["codes_TxS"]
  for i in range(3):
    made = boxes.encode({name: value[i] for name, value in clips.items()})
    nothing = found[i].ravel() == boxes.tokeniser.vocabulary
    np.testing.assert_array_equal(nothing, ~made.mask)
    np.testing.assert_array_equal(found[i].ravel()[made.mask], made.values[made.mask])
  for split, scenes in (("train", [0, 0, 1]), ("validation", [2, 2])):
    scene = RecordSource(written, split, ("scene",)).stacked(np.arange(len(scenes)))["scene"]
    assert scene.tolist() == scenes and written.manifest["splits"][split]["scenes"] == len(set(scenes))
  rows = {row["name"]: row for row in count_tokens.count(source, "train", 3)}
  assert rows["boxes"]["tokens_per_frame"] == 4 * 8 and 0 < rows["boxes"]["used"] < 1
  assert rows["cells"]["used"] == 1 and rows["cells"]["tokens_per_frame"] == 16**2
