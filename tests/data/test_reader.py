"""The reader: one order for any number of processes, exact resume, counted skips."""

import dataclasses
import functools
import itertools
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import datasets, mixtures, reader
from data.errors import BadInput
from tests.data import tiny_datasets
from tests.worlds import straight_scene

COUNT = 50
FIELDS = ("tokens_TxA", "features_TxAxF", "domain")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  out = tmp_path_factory.mktemp("reader") / "d"
  windows = tiny_datasets.numbered_windows(COUNT)
  tiny_datasets.write(out, [("train", straight_scene(), windows)], ("train",))
  return out


@pytest.fixture(scope="module")
def source(made):
  return reader.RecordSource(datasets.open_dataset(made), "train", FIELDS)


def natural(source, seed: int) -> mixtures.Natural:
  return mixtures.Natural(np.arange(len(source)), seed)


def steps(source, count, batch, seed=0, start=0, process=0, processes=1, threads=0) -> list[list[int]]:
  """The window numbers of the first `count` batches."""
  stream = reader.batches(source, batch, natural(source, seed), start, process, processes, threads)
  return [tiny_datasets.number_of(b) for b in itertools.islice(stream, count)]


def test_batches_hold_the_windows_that_were_written(source):
  windows = tiny_datasets.numbered_windows(COUNT)
  batch = next(reader.batches(source, 8, natural(source, 0), 0, 0, 1, 0))
  assert set(batch) == set(FIELDS)
  for row, number in enumerate(tiny_datasets.number_of(batch)):
    for name in FIELDS:
      assert batch[name].dtype == windows[number][name].dtype and batch[name].flags.c_contiguous
      np.testing.assert_array_equal(batch[name][row], windows[number][name])


def test_a_record_brings_the_weight_of_its_own_group(source):
  """Windows before the tenth come as often as all others together, by any process and from anywhere."""
  late_N = (np.arange(COUNT) >= 10).astype(int)
  order = mixtures.Weighted(late_N, np.array([0.5, 0.5]), 0, np.arange(COUNT))
  stream = reader.batches(source, 8, order, 13, 1, 2, 0, weigh=True)
  for batch in itertools.islice(stream, 5):
    late = np.array(tiny_datasets.number_of(batch)) >= 10
    expected = np.where(late, COUNT - 10, 10) / order.sampled_G[late.astype(int)]
    np.testing.assert_allclose(batch["weight"], expected, rtol=1e-6)


def test_every_epoch_holds_every_window_once_in_a_new_order(source):
  flat = [number for batch in steps(source, 30, 5) for number in batch]
  epochs = [flat[k : k + COUNT] for k in range(0, 150, COUNT)]
  assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
  assert epochs[0] != epochs[1] != epochs[2] != list(range(COUNT))
  assert steps(source, 10, 5, seed=1) != steps(source, 10, 5, seed=0)


@functools.cache
def _endless(source, seed) -> list[int]:
  return [number for batch in steps(source, 22, 8, seed) for number in batch]


@settings(max_examples=20, deadline=None)
@given(start=st.integers(0, 130), processes=st.sampled_from([1, 2, 4]), seed=st.integers(0, 2))
def test_processes_together_read_one_order_from_anywhere(source, start, processes, seed):
  """Step s is the same set for any number of processes: B samples of one stream, from start + s B on."""
  endless = _endless(source, seed)
  each = [steps(source, 5, 8, seed, start, p, processes) for p in range(processes)]
  for s in range(5):
    together = sorted(number for share in each for number in share[s])
    assert together == sorted(endless[start + 8 * s : start + 8 * s + 8])
    assert all(len(share[s]) == 8 // processes for share in each)


def test_resumed_equals_uninterrupted_also_with_other_processes(source):
  whole = [sorted(b) for b in steps(source, 20, 4)]
  half = [sorted(b) for b in steps(source, 9, 4)]
  rest = [steps(source, 11, 4, start=36, process=p, processes=2) for p in range(2)]
  assert half + [sorted(a + b) for a, b in zip(*rest, strict=True)] == whole


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_change_the_order(source, threads):
  assert steps(source, 20, 4, threads=threads) == steps(source, 20, 4)


def test_a_batch_that_does_not_divide_is_refused(source):
  with pytest.raises(BadInput, match="batch 6 is not a multiple of 4 processes"):
    reader.batches(source, 6, natural(source, 0), 0, 0, 4, 0)


def test_limits_are_nested_and_drawn_from_the_whole_split(made):
  dataset = datasets.open_dataset(made)

  def numbers(limit):
    limited = reader.RecordSource(dataset, "train", FIELDS, limit)
    assert len(limited) == limit
    return set(tiny_datasets.number_of(limited.stacked(np.arange(limit))))

  assert len(numbers(10)) == 10 and numbers(10) < numbers(25) < numbers(COUNT)
  assert max(numbers(10)) > COUNT // 2, "a prefix would be one scene, or one domain"
  with pytest.raises(BadInput, match="51 windows wanted, 50 exist"):
    reader.RecordSource(dataset, "train", FIELDS, COUNT + 1)


def test_training_fields_are_read_without_the_rest_and_all_fields_together(made, tmp_path):
  copy = shutil.copytree(made, tmp_path / "d")
  dataset, windows = datasets.open_dataset(copy), tiny_datasets.numbered_windows(COUNT)
  some = np.array([7, 0, 49, 7])
  for fields in (("truth_TxAx2", "tokens_TxA", "size_Ax2"), ("limit_AxP",)):
    stacked = reader.RecordSource(dataset, "train", fields).stacked(some)
    assert tuple(stacked) == fields
    for name in fields:
      np.testing.assert_array_equal(stacked[name], np.stack([windows[i][name] for i in some]))
  shutil.rmtree(copy / "rollouts")
  training = reader.RecordSource(dataset, "train", dataset.window.parts["windows"])
  assert tiny_datasets.number_of(training.stacked(some)) == some.tolist()


def test_parts_of_different_length_are_refused(made, monkeypatch):
  dataset, whole = datasets.open_dataset(made), datasets.Dataset.records

  def short(self, kind, split):
    return whole(self, kind, split) if kind == "windows" else [b""] * (COUNT - 1)

  monkeypatch.setattr(datasets.Dataset, "records", short)
  reader.RecordSource(dataset, "train", FIELDS)
  with pytest.raises(BadInput, match="49 records of truth_TxAx2, 50 were written"):
    reader.RecordSource(dataset, "train", (*FIELDS, "truth_TxAx2"))


def test_batches_of_every_size_follow_one_order(source):
  """Several batches are read at once; where one read ends must not show."""
  whole = [number for batch in steps(source, 200, 1) for number in batch]
  for size in (2, 3, 7, reader._TOGETHER, reader._TOGETHER + 1, 2 * reader._TOGETHER):
    found = steps(source, 200 // size, size, start=0, threads=2)
    assert [number for batch in found for number in batch] == whole[: 200 // size * size]
    assert {len(batch) for batch in found} == {size}


def damage(dataset, numbers, kind="windows") -> None:
  """Flips bits until exactly the records with these numbers are unreadable."""
  path = tiny_datasets.shard(dataset, kind)
  for offset in range(0, path.stat().st_size, 700):
    tiny_datasets.flip(path, offset)
    if not (bad := tiny_datasets.unreadable(path)) or not bad <= set(numbers):
      tiny_datasets.flip(path, offset)
    elif bad == set(numbers):
      return
  raise AssertionError(f"no flip damages {numbers}")


def test_a_damaged_record_is_replaced_by_the_next_and_counted(made, source, tmp_path):
  copy = shutil.copytree(made, tmp_path / "d")
  damage(copy, [COUNT - 1])
  dataset = datasets.open_dataset(copy)
  assert len(dataset.damaged) == 1
  torn = reader.RecordSource(dataset, "train", FIELDS)
  assert steps(torn, 5, 4) == [[0 if n == COUNT - 1 else n for n in b] for b in steps(source, 5, 4)]
  for _ in range(2):
    whole = torn.stacked(np.arange(COUNT))
    assert tiny_datasets.number_of(whole) == [*range(COUNT - 1), 0]
    assert torn.skipped == 1, "the same record is counted once"
  np.testing.assert_array_equal(whole["features_TxAxF"][-1], whole["features_TxAxF"][0])


def test_a_window_damaged_in_one_part_is_replaced_in_all(made, tmp_path):
  copy = shutil.copytree(made, tmp_path / "d")
  damage(copy, [4], "rollouts")
  dataset, windows = datasets.open_dataset(copy), tiny_datasets.numbered_windows(COUNT)
  fields = ("tokens_TxA", "truth_TxAx2")
  torn = reader.RecordSource(dataset, "train", fields)
  stacked = torn.stacked(np.array([3, 4, 5]))
  assert tiny_datasets.number_of(stacked) == [3, 5, 5] and torn.skipped == 1
  for name in fields:
    np.testing.assert_array_equal(stacked[name], np.stack([windows[i][name] for i in (3, 5, 5)]))
  training = reader.RecordSource(dataset, "train", FIELDS)
  assert tiny_datasets.number_of(training.stacked(np.arange(COUNT))) == list(range(COUNT))
  assert training.skipped == 0


@pytest.mark.parametrize("threads", [0, 2])
def test_more_than_the_bound_stops_the_run(made, tmp_path, threads):
  copy = shutil.copytree(made, tmp_path / "d")
  damage(copy, [3, 30])
  torn = reader.RecordSource(datasets.open_dataset(copy), "train", FIELDS)
  with pytest.raises(BadInput, match="2 of 50 records are unreadable"):
    steps(torn, 100, 4, threads=threads)


def test_a_record_of_another_length_is_not_read_as_a_window(made, monkeypatch):
  torn = reader.RecordSource(datasets.open_dataset(made), "train", FIELDS)
  size = torn._parts[0].row.itemsize
  short = {n: b"\0" * (size - (n == 2)) for n in range(COUNT)}
  monkeypatch.setattr(torn, "_parts", [dataclasses.replace(torn._parts[0], records=short)])
  torn.stacked(np.arange(COUNT))
  assert torn.skipped == 1
