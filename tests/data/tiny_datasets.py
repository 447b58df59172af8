"""Small real datasets for tests, and damage to them."""

import pathlib

import numpy as np
from array_record.python import array_record_module

from data import dataset_writer
from data.windows import Window, WindowConfig, windows_of
from tests.worlds import straight_scene

WINDOW = WindowConfig(dt=0.5, steps=4, agents=4, points=8, stops=1, phases=1, least_moves=4)


def scene_examples(count: int, splits=("train", "validation")):
  """(split, scene, windows) of straight roads, splits in turn."""
  for i in range(count):
    scene = straight_scene(steps=12, agents=3, dt=0.5, seed=i)
    yield splits[i % len(splits)], scene, windows_of(scene, WINDOW, 0)


def write(out: pathlib.Path, examples, splits=("train", "validation"), **notes) -> dict:
  return dataset_writer.write_dataset(out, examples, WINDOW, ("straight",), splits, notes)


def numbered_windows(count: int) -> list[Window]:
  """Windows that differ in everything; `number_of` tells which is which."""
  rng = np.random.default_rng(0)
  windows = []
  for number in range(count):
    window = {}
    for name, (shape, dtype) in WINDOW.spec.items():
      kind = np.dtype(dtype).kind
      window[name] = (
        rng.normal(size=shape).astype(dtype) if kind == "f" else rng.integers(0, 2, shape).astype(dtype)
      )
    window["tokens_TxA"][0, 0] = number
    windows.append(window)
  return windows


def number_of(batch: dict[str, np.ndarray]) -> list[int]:
  return batch["tokens_TxA"][:, 0, 0].tolist()


def shard(dataset: pathlib.Path, kind: str = "windows", split: str = "train") -> pathlib.Path:
  return next((dataset / kind / "1.0.0").glob(f"{kind}-{split}.array_record-*"))


def flip(path: pathlib.Path, offset: int, bit: int = 0) -> None:
  """Flips one bit in place."""
  content = bytearray(path.read_bytes())
  content[offset] ^= 1 << bit
  path.write_bytes(content)


def unreadable(path: pathlib.Path) -> set[int]:
  """The records of a shard that raise."""
  reader = array_record_module.ArrayRecordReader(str(path))
  bad = set()
  for index in range(reader.num_records()):
    try:
      reader.read([index])
    except RuntimeError:
      bad.add(index)
  reader.close()
  return bad
