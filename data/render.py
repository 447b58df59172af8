"""Scenes to clips: python -m data.render --dataset=DIR --rig=front|pair|surround|lidar|tracks --out=DIR.

Every scene of a dataset is rendered with the rig's cameras and LiDAR (data.scene_clips), at several starts and from
several drivers. Splits and domains are carried over unchanged, so that what the scenes kept apart stays apart. The same
arguments give the same bytes with any number of workers.
"""

import concurrent.futures
import multiprocessing
from collections.abc import Iterator
from typing import Any

from absl import flags

from experiments import program

_DATASET = flags.DEFINE_string("dataset", None, "Directory of a dataset with scenes.", required=True)
_OUT = flags.DEFINE_string("out", None, "Directory to make.", required=True)
_RIG = flags.DEFINE_string("rig", None, "Sensors: front, pair, surround, lidar or tracks.", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of starts, drivers, noise and unknown weather.", lower_bound=0)
_CLIPS = flags.DEFINE_integer("clips_per_scene", 16, "Clips of a scene, at most.", lower_bound=1)
_STEPS = flags.DEFINE_integer("clip_steps", 4, "Frames of a clip.", lower_bound=1)
_SECONDS = flags.DEFINE_float("step_seconds", 0.5, "Seconds between frames.", lower_bound=0.01)
_HEIGHT = flags.DEFINE_integer("image_height", 32, "Pixels of a camera.", lower_bound=2)
_WIDTH = flags.DEFINE_integer("image_width", 64, "Pixels of a camera.", lower_bound=2)
_BEAMS = flags.DEFINE_integer("beams", 16, "Beams of the LiDAR.", lower_bound=2)
_AZIMUTHS = flags.DEFINE_integer("azimuths", 64, "LiDAR rays per beam.", lower_bound=4)
_GRID = flags.DEFINE_integer("grid", 64, "Cells along each side of the bird's eye view.", lower_bound=4)
_CELL = flags.DEFINE_float("cell_m", 1.0, "Edge of a cell in m.", lower_bound=0.25)
_REAR = flags.DEFINE_float("rear_m", 16.0, "m that the grid reaches behind the ego.", lower_bound=0)
_BOXES = flags.DEFINE_integer("boxes", 16, "Agents that are labelled.", lower_bound=1)
_FUTURES = flags.DEFINE_integer("futures", 6, "Future steps that are labelled.", lower_bound=1)
_ELEMENTS = flags.DEFINE_integer("elements", 32, "Map polylines that are labelled.", lower_bound=1)
_ELEMENT_POINTS = flags.DEFINE_integer("element_points", 8, "Points of a polyline.", lower_bound=2)
_WORKERS = flags.DEFINE_integer("workers", 2, "Worker processes.", lower_bound=1)


def main() -> int:
  from data import dataset_writer, rigs
  from data.clips import ClipConfig
  from data.datasets import open_dataset
  from data.errors import BadInput
  from data.in_order import in_order
  from experiments.progress import Progress

  rigs.rig(_RIG.value)
  dataset_writer.require_new(_OUT.value)
  config = ClipConfig(
    _RIG.value, _STEPS.value, _SECONDS.value, _HEIGHT.value, _WIDTH.value, _BEAMS.value, _AZIMUTHS.value, _GRID.value,
    _CELL.value, _REAR.value, _BOXES.value, _FUTURES.value, _ELEMENTS.value, _ELEMENT_POINTS.value,
  )  # fmt: skip
  dataset = open_dataset(_DATASET.value)
  if not dataset.holds("scenes"):
    raise BadInput("holds no scenes to render", dataset.path, "choose a dataset made from logs")
  counts = {split: count["scenes"] for split, count in dataset.manifest["splits"].items()}
  splits = tuple(split for split, count in counts.items() if count)
  render = _Render(config, _CLIPS.value, _SEED.value, dataset.domains)
  notes: dict[str, Any] = {
    "source": dataset.manifest["notes"].get("source", ""),
    "dataset": dataset.fingerprint,
    "arguments": {"clips_per_scene": _CLIPS.value, "seed": _SEED.value},
    "without_clips": [],
  }
  pool = concurrent.futures.ProcessPoolExecutor(_WORKERS.value, multiprocessing.get_context("spawn"))

  def encoded() -> Iterator[tuple[str, str, bytes]]:
    for split in splits:
      records = dataset.records("scenes", split)
      for index in range(counts[split]):
        where = f"{dataset.path}/scenes, {split}, record {index}"
        yield split, where, _read(records, index, where)

  def examples(bar) -> Iterator[tuple]:
    for split, name, clips in in_order(pool, render, encoded(), 2 * _WORKERS.value):
      bar.update(1)
      if not clips:
        notes["without_clips"].append(name)
      yield split, None, clips

  try:
    with Progress(sum(counts.values()), f"{_RIG.value} clips", unit="scene") as bar:
      manifest = dataset_writer.write_dataset(
        _OUT.value, examples(bar), config, dataset.domains, splits, notes, (ClipConfig.kind,)
      )
  finally:
    pool.shutdown(cancel_futures=True)
  for name, count in manifest["splits"].items():
    print(f"{name:<11}{count['scenes']:>6} scenes {count['clips']:>8} clips {count['tokens']:>11} cells")
  for name in notes["without_clips"]:
    print(f"no clip fits: {name}")
  return 0


class _Render:
  """In a worker: (split, where it is, encoded scene) to (split, scene's name, clips)."""

  def __init__(self, config: Any, count: int, seed: int, domains: tuple[str, ...]):
    self._config, self._count, self._seed, self._domains = config, count, seed, domains

  def __call__(self, job: tuple[str, str, bytes]) -> tuple:
    from data import records, scene_clips

    split, where, record = job
    scene = records.decode_scene(record, where)
    domain = self._domains.index(scene.metadata.domain)
    clips = scene_clips.clips_of(scene, self._config, self._count, self._seed, domain)
    return split, scene.metadata.scene_id, clips


def _read(records: Any, index: int, where: str) -> bytes:
  from data.datasets import REBUILD
  from data.errors import BadInput

  try:
    return records[index]
  except RuntimeError as error:
    raise BadInput(f"the record is damaged ({error})", where, REBUILD) from None


if __name__ == "__main__":
  program.run(main)
