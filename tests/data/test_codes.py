"""Code windows: what is read, what is refused, and that no frame lies on two sides of a split."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from data import codes, datasets
from data.codes import CodesConfig
from data.errors import BadInput
from data.reader import RecordSource


def _save(path, array):
  np.save(path, array)
  return path


def test_frames_come_back_as_they_were_written(tmp_path):
  frames = np.random.default_rng(0).integers(0, 1024, (6, 128))
  for shape in ((6, 128), (6, 8, 16)):
    path = _save(tmp_path / "tokens.npy", frames.reshape(shape).astype(np.int16))
    np.testing.assert_array_equal(codes.read_commavq(path), frames.reshape(6, 8, 16))


@pytest.mark.parametrize(
  ("array", "words"),
  [
    (np.zeros((4, 64), np.int64), "has shape"),
    (np.zeros(128, np.int64), "has shape"),
    (np.zeros((0, 128), np.int64), "has shape"),
    (np.full((4, 128), 1024), "outside 0 to 1023"),
    (np.full((4, 128), -1), "outside 0 to 1023"),
    (np.zeros((4, 128)), "no array of integers"),
    (np.array([{}]), "no plain NumPy array"),
  ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path, array, words):
  with pytest.raises(BadInput, match=words):
    codes.read_commavq(_save(tmp_path / "tokens.npy", array))


def test_what_is_no_file_of_numpy_is_refused(tmp_path):
  with pytest.raises(BadInput, match="no plain NumPy array"):
    codes.read_commavq(tmp_path / "absent.npy")
  (tmp_path / "text.npy").write_text("tokens")
  with pytest.raises(BadInput, match="no plain NumPy array"):
    codes.read_commavq(tmp_path / "text.npy")


def test_stretches_are_in_order_disjoint_and_a_gap_apart():
  found = codes.blocks(1200, {"train": 0.8, "tune": 0.06, "validation": 0.14}, 20, "here")
  parts = list(found.values())
  assert parts[0].start == 0 and parts[-1].stop == 1200
  assert [b.start - a.stop for a, b in itertools.pairwise(parts)] == [20, 20]
  assert parts[0].stop == pytest.approx(0.8 * 1160, abs=1)
  with pytest.raises(BadInput, match="leave none for 'validation'"):
    codes.blocks(20, {"train": 0.9, "validation": 0.1}, 18, "here")


def test_windows_hold_the_frames_in_their_order():
  config = CodesConfig(steps=4, places=3, codes=50, actions=2)
  frames = np.arange(33).reshape(11, 3)
  made = codes.windows_of(frames, np.arange(11) % 2, config, 2, 5)
  assert [int(window["codes_TxS"][0, 0]) for window in made] == [0, 6, 12, 18]
  for window in made:
    assert {name: (v.shape, v.dtype) for name, v in window.items()} == {
      name: (shape, np.dtype(dtype)) for name, (shape, dtype) in config.spec.items()
    }
    assert config.tokens(window) == 12
  np.testing.assert_array_equal(made[1]["codes_TxS"], frames[2:6])
  assert codes.windows_of(frames[:3], np.zeros(3), config, 1, 0) == []


def test_a_clips_action_is_the_move_that_led_to_the_frame():
  actions = np.uint8([[7, 8], [9, 10], [11, 12]])
  mask = np.array([[True, True], [False, False], [True, False]])
  np.testing.assert_array_equal(codes.clip_actions(actions, mask, 255), [255, 7, 255])


def test_the_program_holds_out_a_later_stretch_of_the_drive(tmp_path):
  tokens = _save(tmp_path / "tokens.npy", np.repeat(np.arange(300), 128).reshape(300, 128))
  command = [sys.executable, "-m", "data.build_codes", f"--tokens={tokens}", f"--out={tmp_path / 'codes'}"]
  done = subprocess.run(
    [*command, "--gap_frames=10", "--every=2"], capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  dataset, frames, scenes = datasets.open_dataset(tmp_path / "codes"), {}, {}
  for split, count in dataset.manifest["splits"].items():
    source = RecordSource(dataset, split, ("codes_TxS", "scene"))
    found = source.stacked(np.arange(count["codes"]))
    frames[split], scenes[split] = np.unique(found["codes_TxS"]), np.unique(found["scene"]).tolist()
    assert count["scenes"] == 1
  assert frames["train"][0] == 0 and frames["train"].max() + 10 < frames["tune"].min()
  assert frames["tune"].max() + 10 < frames["validation"].min()
  assert scenes == {"train": [0], "tune": [1], "validation": [2]}, "one recording: a stretch is one scene"
