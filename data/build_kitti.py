"""KITTI to a dataset of clips: python -m data.build_kitti --input=KITTI --out=DIR.

Of every recording below --input (paired frames in image_02/ and velodyne/, odometry sequences with image_l/) the first
stretch of time trains and the last is held out, with a gap between them: frames side by side are near copies. Each
recording is a domain of its own. Sequences have no LiDAR, and paired frames no motion: their arrays stay empty.
"""

import pathlib
from collections.abc import Iterator

from absl import flags

from experiments import program

_INPUT = flags.DEFINE_string("input", None, "Directory as KITTI publishes it.", required=True)
_OUT = flags.DEFINE_string("out", None, "Directory to make.", required=True)
_STEPS = flags.DEFINE_integer("clip_steps", 2, "Frames of a clip, 0.1 s apart.", lower_bound=1)
_HEIGHT = flags.DEFINE_integer("image_height", 32, "Pixels of the camera.", lower_bound=2)
_WIDTH = flags.DEFINE_integer("image_width", 96, "Pixels of the camera.", lower_bound=2)
_BEAMS = flags.DEFINE_integer("beams", 16, "Beams that are kept of the LiDAR.", lower_bound=2)
_AZIMUTHS = flags.DEFINE_integer("azimuths", 180, "LiDAR rays that are kept per beam.", lower_bound=4)
_GRID = flags.DEFINE_integer("grid", 16, "Cells along each side of the bird's eye view.", lower_bound=4)
_CELL = flags.DEFINE_float("cell_m", 4.0, "Edge of a cell in m.", lower_bound=0.25)
_REAR = flags.DEFINE_float("rear_m", 32.0, "m that the grid reaches behind the ego.", lower_bound=0)
_FUTURES = flags.DEFINE_integer("futures", 6, "Future steps that are labelled.", lower_bound=1)
_GAP = flags.DEFINE_integer("gap_frames", 2, "Frames left out between the splits.", lower_bound=0)

FRACTIONS = {"train": 0.7, "validation": 0.3}


def main() -> int:
  from data import dataset_writer, kitti
  from data.clips import ClipConfig

  dataset_writer.require_new(_OUT.value)
  config = ClipConfig(
    "kitti", _STEPS.value, kitti.FRAME_SECONDS, _HEIGHT.value, _WIDTH.value, _BEAMS.value, _AZIMUTHS.value,
    _GRID.value, _CELL.value, _REAR.value, 1, _FUTURES.value, 1, 2,
  )  # fmt: skip
  found = recordings(pathlib.Path(_INPUT.value))
  notes = {"source": "kitti", "arguments": {"gap_frames": _GAP.value}}
  manifest = dataset_writer.write_dataset(
    _OUT.value,
    examples(found, config, _GAP.value),
    config,
    tuple(found),
    tuple(FRACTIONS),
    notes,
    (config.kind,),
  )
  for name, count in manifest["splits"].items():
    print(f"{name:<11}{count['clips']:>6} clips")
  return 0


def recordings(directory: pathlib.Path) -> dict[str, pathlib.Path]:
  """Name to directory: "paired" for the frames that have a sweep each, and every odometry sequence."""
  from data import kitti
  from data.errors import BadInput

  found = {"paired": directory} if (directory / "velodyne").is_dir() else {}
  found |= {path.parent.name: path.parent for path in sorted(directory.glob("*/image_l"))}
  if not found:
    raise BadInput("holds neither velodyne/ nor a sequence with image_l/", directory, kitti.REMEDY)
  return found


def examples(found: dict[str, pathlib.Path], config, gap: int) -> Iterator[tuple]:
  """(split, None, clips) of every recording; a clip that reaches into the gap is left out."""
  import numpy as np

  from data import codes, kitti

  for number, (name, path) in enumerate(found.items()):
    paired = name == "paired"
    clips = kitti.paired_clips(path, config) if paired else kitti.sequence_clips(path, config)
    stride = 1 if paired else config.steps  # frames from one clip to the next
    frames = stride * (len(clips) - 1) + config.steps
    for split, part in codes.blocks(frames, FRACTIONS, gap, path).items():
      first, last = -(-part.start // stride), (part.stop - config.steps) // stride
      chosen = clips[first : last + 1]
      for clip in chosen:
        clip["scene"], clip["domain"] = np.asarray(number, np.int32), np.asarray(number, np.uint8)
      yield split, None, chosen


if __name__ == "__main__":
  program.run(main)
