"""Datasets: what is written is read back, whole or not at all, and every fault is named."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from data import dataset_writer, datasets, records, schema
from data.errors import BadInput
from data.reader import RecordSource
from tests.data import tiny_datasets

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  out = tmp_path_factory.mktemp("datasets") / "d"
  tiny_datasets.write(out, tiny_datasets.scene_examples(8), source="test")
  return out


@pytest.fixture
def copy(made, tmp_path):
  return shutil.copytree(made, tmp_path / "d")


def test_scenes_and_windows_come_back_bit_for_bit(made):
  dataset = datasets.open_dataset(made)
  for split in ("train", "validation"):
    wanted = [e for e in tiny_datasets.scene_examples(8) if e[0] == split]
    for (_, scene, _), found in zip(wanted, dataset.scenes(split), strict=True):
      assert found.metadata == scene.metadata
      for name, value in schema.arrays(scene).items():
        assert value.dtype == schema.arrays(found)[name].dtype
        np.testing.assert_array_equal(schema.arrays(found)[name], value, err_msg=name)
    windows = [w for *_, ws in wanted for w in ws]
    stacked = RecordSource(dataset, split, dataset.window.spec).stacked(np.arange(len(windows)))
    for name, (_, dtype) in dataset.window.spec.items():
      assert stacked[name].dtype == dtype
      if name == "scene":  # known when it is written
        continue
      np.testing.assert_array_equal(stacked[name], np.stack([w[name] for w in windows]), err_msg=name)


def test_every_record_has_the_number_of_its_scene_which_no_other_split_uses(made):
  dataset, found = datasets.open_dataset(made), {}
  for number, (split, _, windows) in enumerate(tiny_datasets.scene_examples(8)):
    found.setdefault(split, []).extend([number] * len(windows))
  for split, wanted in found.items():
    source = RecordSource(dataset, split, ("scene",))
    scene = source.stacked(np.arange(len(source)))["scene"]
    assert scene.dtype == np.int32 and scene.tolist() == wanted and len(set(wanted)) == 4 < len(wanted)


def test_manifest_counts_and_records_stand_alone(made):
  dataset = datasets.open_dataset(made)
  assert dataset.domains == ("straight",) and dataset.window == tiny_datasets.WINDOW
  assert dataset.manifest["notes"] == {"source": "test"} and dataset.damaged == ()
  examples = list(tiny_datasets.scene_examples(8))
  for split in ("train", "validation"):
    windows = [w for name, _, ws in examples for w in ws if name == split]
    tokens = sum(int(w["mask_TxA"].sum()) for w in windows)
    counts = dataset.manifest["splits"][split]
    assert counts == {"scenes": 4, "windows": len(windows), "tokens": tokens} and tokens > 0
  for kind, packed in (("scenes", True), ("windows", False), ("rollouts", True)):
    reader = array_record_module.ArrayRecordReader(str(tiny_datasets.shard(made, kind)))
    assert "group_size:1," in reader.writer_options_string()
    assert ("uncompressed" not in reader.writer_options_string()) == packed
    reader.close()


def test_many_records_go_into_shards_that_tfds_finds_in_order(tmp_path, monkeypatch):
  monkeypatch.setattr(dataset_writer, "_RECORDS_PER_SHARD", {"scenes": 1, "windows": 3, "rollouts": 4})
  windows = tiny_datasets.numbered_windows(10)
  examples = [("train", next(tiny_datasets.scene_examples(1))[1], windows)]
  tiny_datasets.write(tmp_path / "d", examples, ("train",))
  dataset = datasets.open_dataset(tmp_path / "d")
  for kind, shards in (("windows", 4), ("rollouts", 3)):
    assert len(list((dataset.path / kind / "1.0.0").glob("*.array_record-*"))) == shards
    builder = tfds.builder_from_directory(str(dataset.path / kind / "1.0.0"))
    assert builder.info.splits["train"].num_examples == 10
    row = records.row_dtype(dataset.window.parts[kind])
    wanted = [records.encode_window(window | {"scene": np.int32(0)}, row) for window in windows]
    assert [example["record"] for example in builder.as_data_source("train")] == wanted
    assert [dataset.records(kind, "train")[index] for index in range(10)] == wanted


def test_same_examples_same_bytes(made, tmp_path):
  tiny_datasets.write(tmp_path / "again", tiny_datasets.scene_examples(8), source="test")
  tiny_datasets.write(tmp_path / "fewer", tiny_datasets.scene_examples(6), source="test")
  first, again, fewer = (datasets.open_dataset(p) for p in (made, tmp_path / "again", tmp_path / "fewer"))
  assert first.manifest == again.manifest
  assert first.fingerprint == again.fingerprint != fewer.fingerprint


def test_nothing_is_left_when_writing_fails(tmp_path):
  def broken():
    yield from tiny_datasets.scene_examples(4)
    raise BadInput("is torn", "log 5", "mend it")

  with pytest.raises(BadInput, match="log 5: is torn"):
    tiny_datasets.write(tmp_path / "d", broken())
  with pytest.raises(BadInput, match="split 'tune' has no windows"):
    tiny_datasets.write(tmp_path / "d", tiny_datasets.scene_examples(4), ("train", "tune", "validation"))
  assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_is_refused_and_untouched(tmp_path):
  (tmp_path / "d").mkdir()
  (tmp_path / "d" / "thesis.txt").write_text("years of work")
  with pytest.raises(BadInput, match="exists already"):
    tiny_datasets.write(tmp_path / "d", tiny_datasets.scene_examples(4))
  assert (tmp_path / "d" / "thesis.txt").read_text() == "years of work"


_FILL_DISK = """
import pathlib, resource, signal, sys
from tests.data import tiny_datasets
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, 70_000))  # a file that cannot grow: a disk that is full
tiny_datasets.write(pathlib.Path(sys.argv[1]) / "d", tiny_datasets.scene_examples(400))
"""


def test_a_full_disk_is_bad_input_and_leaves_nothing(tmp_path):
  done = _python(_FILL_DISK, tmp_path)
  assert "BadInput" in done.stderr and "no space left while writing; free some space" in done.stderr
  assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_refused_before_writing(tmp_path, monkeypatch):
  monkeypatch.setattr(dataset_writer, "_FREE_BYTES", 2**62)
  with pytest.raises(BadInput, match="MiB free"):
    tiny_datasets.write(tmp_path / "d", tiny_datasets.scene_examples(4))
  assert list(tmp_path.iterdir()) == []


_TENSORFLOW_WATCHED = """
import pathlib, sys
import numpy as np
sys.path.insert(0, sys.argv[1])  # holds a tensorflow that ends the process
from data import datasets, mixtures, reader
from tests.data import tiny_datasets
out = pathlib.Path(sys.argv[1]) / "d"
tiny_datasets.write(out, tiny_datasets.scene_examples(4))
source = reader.RecordSource(datasets.open_dataset(out), "train", ("tokens_TxA",))
order = mixtures.Natural(np.arange(len(source)), 0)
print(next(reader.batches(source, 2, order, 0, 0, 1, 1))["tokens_TxA"].shape)
"""


def test_tensorflow_is_not_imported_even_where_it_is_installed(tmp_path):
  (tmp_path / "tensorflow").mkdir()
  (tmp_path / "tensorflow" / "__init__.py").write_text("import os; os._exit(7)")
  done = _python(_TENSORFLOW_WATCHED, tmp_path)
  assert (done.returncode, done.stdout) == (0, "(2, 4, 4)\n"), done.stderr


def _python(code: str, *args) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, "-c", code, *map(str, args)], cwd=ROOT, capture_output=True, text=True, timeout=120
  )


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"schema_version": 0}, f"schema_version is 0, this version reads {schema.SCHEMA_VERSION}"),
    ({"format_version": None}, "format_version is None"),
    ({"format_version": 3}, "format_version is 3, this version reads 4; build the dataset again"),
    ({"tokens_fingerprint": "abc"}, "tokens_fingerprint is abc"),
    ({"domains": ["other"]}, "does not match its own fingerprint"),
    ({"files": {}}, "does not match its own fingerprint"),
  ],
)
def test_a_manifest_of_another_version_or_edited_is_refused(copy, change, message):
  manifest = json.loads((copy / "dataset.json").read_text()) | change
  (copy / "dataset.json").write_text(json.dumps(manifest))
  with pytest.raises(BadInput, match=message):
    datasets.open_dataset(copy)


@pytest.mark.parametrize(("change", "name"), [({"points": None}, "points"), ({"lanes": 3}, "lanes")])
def test_windows_of_another_make_are_refused(copy, change, name):
  manifest = json.loads((copy / "dataset.json").read_text())
  window = {key: value for key, value in (manifest["window"] | change).items() if value is not None}
  manifest["window"] = window
  manifest["fingerprint"] = datasets.fingerprint(manifest)
  (copy / "dataset.json").write_text(json.dumps(manifest))
  with pytest.raises(BadInput, match=f"window and this version differ in {name}; build the dataset again"):
    datasets.open_dataset(copy)


def test_missing_truncated_and_grown_files_are_named(copy):
  for path in (tiny_datasets.shard(copy, "scenes"), copy / "windows" / "1.0.0" / "features.json"):
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(
      BadInput, match=f"{path.name}: has {len(content) - 1} bytes, {len(content)} were written"
    ):
      datasets.open_dataset(copy, verify=False)
    path.write_bytes(content + b"\0" * 100)
    with pytest.raises(BadInput, match=f"{path.name}: has {len(content) + 100} bytes"):
      datasets.open_dataset(copy, verify=False)
    path.unlink()
    with pytest.raises(BadInput, match=f"{path.name}: is missing"):
      datasets.open_dataset(copy, verify=False)
    path.write_bytes(content)
  datasets.open_dataset(copy)


def test_what_is_no_dataset_is_refused(tmp_path):
  with pytest.raises(BadInput, match=r"dataset\.json: no such file; give the --out directory"):
    datasets.open_dataset(tmp_path)


def test_half_a_shard_of_zeros_does_not_open(copy):
  path = tiny_datasets.shard(copy)
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2] + b"\0" * (len(content) - len(content) // 2))
  with pytest.raises(BadInput, match="does not open"):
    datasets.open_dataset(copy)


def test_a_flipped_bit_is_noticed(copy, caplog):
  path = tiny_datasets.shard(copy)
  tiny_datasets.flip(path, 200)
  dataset = datasets.open_dataset(copy)
  assert dataset.damaged == (str(path.relative_to(copy)),)
  assert "has changed since it was written" in caplog.text
  tiny_datasets.flip(path, 200)
  assert datasets.open_dataset(copy).damaged == ()
  tiny_datasets.flip(copy / "windows" / "1.0.0" / "features.json", 10)
  with pytest.raises(BadInput, match=r"features\.json: has changed"):
    datasets.open_dataset(copy)


def test_an_unknown_split_names_those_that_exist(made):
  with pytest.raises(BadInput, match="split 'test' holds no scenes; choose one of train, validation"):
    next(datasets.open_dataset(made).scenes("test"))


def test_damaged_scenes_never_become_scenes(copy):
  path = tiny_datasets.shard(copy, "scenes")
  tiny_datasets.flip(path, 300)
  with pytest.raises(BadInput, match="record is damaged"):
    list(datasets.open_dataset(copy).scenes("train"))
  _, scene, _ = next(tiny_datasets.scene_examples(1))
  record = records.encode_scene(scene)
  header, _, body = record.partition(b"\n")
  strange = json.loads(header)
  strange["shapes"]["type_A"] = [-1]
  for bad in (record[:-1], record + b"\0", b"", header, json.dumps(strange).encode() + b"\n" + body):
    with pytest.raises(BadInput, match="here: scene record does not decode"):
      records.decode_scene(bad, "here")


def test_a_window_that_does_not_fit_the_spec_is_refused():
  row = records.row_dtype(tiny_datasets.WINDOW.spec)
  window = tiny_datasets.numbered_windows(1)[0]
  assert len(records.encode_window(window, row)) == row.itemsize == sum(v.nbytes for v in window.values())
  with pytest.raises(ValueError, match="moving_A has shape"):
    records.encode_window(window | {"moving_A": np.ones(1, bool)}, row)
  with pytest.raises(TypeError):
    records.encode_window(window | {"tokens_TxA": window["tokens_TxA"] + 0.5}, row)


def test_token_meaning_is_part_of_the_version(made, monkeypatch):
  monkeypatch.setattr(datasets.motion, "YAW_RATES", (0.0,))
  with pytest.raises(BadInput, match="tokens_fingerprint"):
    datasets.open_dataset(made)


def test_window_config_is_read_back_whole(made):
  assert dataclasses.asdict(datasets.open_dataset(made).window) == dataclasses.asdict(tiny_datasets.WINDOW)
