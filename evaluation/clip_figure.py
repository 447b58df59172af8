"""A contact sheet of clips: python -m evaluation.clip_figure --dataset=DIR --out=FILE.png [--split=validation].

One row per clip, spread over the split, named by domain, weather and light: every camera of the first frame, the LiDAR
from above coloured by class, the cells of the bird's eye view, and the labels: boxes (with a dot: visible), map
elements and the ego's future (black).
"""

from typing import Any

from absl import flags

from experiments import program

_DATASET = flags.DEFINE_string("dataset", None, "Directory made by data.render.", required=True)
_OUT = flags.DEFINE_string("out", None, "PNG file to write.", required=True)
_SPLIT = flags.DEFINE_string("split", "validation", "Split to show.")
_ROWS = flags.DEFINE_integer("rows", 8, "Clips shown.", lower_bound=1)

_POLE, _SKY = (0.25, 0.25, 0.25), (0.75, 0.85, 0.95)  # PIXEL_CLASSES after those of cells
_CAMERA_WIDTH, _SQUARE = 2.2, 1.45  # inches
_LINES = ("tab:gray", "tab:orange", "tab:green", "tab:red")  # of ELEMENT_CLASSES


def main() -> int:
  import pathlib

  import matplotlib

  matplotlib.use("Agg")
  import matplotlib.pyplot as plt
  import numpy as np
  from matplotlib.layout_engine import ConstrainedLayoutEngine

  from data import records
  from data.datasets import open_dataset

  dataset = open_dataset(_DATASET.value)
  config, stored = dataset.clip, dataset.records("clips", _SPLIT.value)
  row = records.row_dtype(config.spec)
  chosen = np.unique(np.linspace(0, len(stored) - 1, _ROWS.value).astype(int))
  lidar = ["LiDAR"] if config.lidar else []
  heads = [f"{camera.name} camera" for camera in config.cameras] + lidar + ["cells", "labels"]
  widths = [_CAMERA_WIDTH] * len(config.cameras) + [_SQUARE] * (len(lidar) + 2)
  figure, axes = plt.subplots(
    len(chosen),
    len(heads),
    figsize=(sum(widths) + 0.4, _SQUARE * len(chosen) + 0.2),
    width_ratios=widths,
    squeeze=False,
    layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01),
  )
  for axis, head in zip(axes[0], heads, strict=True):
    axis.set_title(head, fontsize=9)
  for line, number in zip(axes, chosen, strict=True):
    _draw(line, np.frombuffer(stored[int(number)], row)[0], config, dataset.domains)
  out = pathlib.Path(_OUT.value)
  out.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(out, dpi=100)
  print(out)
  return 0


def _draw(line: Any, clip: Any, config: Any, domains: tuple[str, ...]) -> None:
  """One clip's first frame into a row of axes."""
  import numpy as np

  from data.clips import LIGHTS, WEATHERS
  from evaluation.codes.cell_pictures import COLOURS, from_above

  axes = iter(line)
  for image in clip["images_TxCxHxWx3"][0]:
    axis = next(axes)
    axis.imshow(image)
    axis.set_anchor("N")
  side, half = config.grid * config.cell_m, 0.5 * config.grid * config.cell_m
  # Left is negative: as seen from above, driving up.
  window = (-half, half, -config.rear_m, side - config.rear_m)
  if config.lidar:
    echo = clip["echo_TxP"][0]
    points = clip["points_TxPx4"][0][echo].astype(np.float64)
    axis, pixels = next(axes), np.array([*COLOURS, _POLE, _SKY])
    axis.scatter(-points[:, 1], points[:, 0], s=1, c=pixels[clip["point_class_TxP"][0][echo]])
    axis.set(xlim=window[:2], ylim=window[2:], aspect="equal", facecolor="black")
  next(axes).imshow(from_above(clip["cells_TxHxW"][0]), extent=window)
  axis = next(axes)
  shown = clip["element_mask_TxM"][0]
  for polyline, kind in zip(
    clip["elements_TxMxPx2"][0][shown], clip["element_class_TxM"][0][shown], strict=True
  ):
    axis.plot(-polyline[:, 1], polyline[:, 0], color=_LINES[kind], lw=0.7)
  present, visible = clip["present_TxK"][0], clip["visible_TxK"][0]
  for x, y, _, length, width, _, yaw in clip["boxes_TxKx7"][0][present]:
    corners = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1), (1, 1)]) * (0.5 * length, 0.5 * width)
    turned = corners @ np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    axis.plot(-(y + turned[:, 1]), x + turned[:, 0], color="tab:blue", lw=0.8)
  boxes = clip["boxes_TxKx7"][0][visible]
  axis.scatter(-boxes[:, 1], boxes[:, 0], s=6, color="tab:blue")
  future = clip["future_TxFx2"][0][clip["future_mask_TxF"][0]]
  axis.plot(-future[:, 1], future[:, 0], ".-", color="black", ms=2, lw=0.8)
  axis.set(xlim=window[:2], ylim=window[2:], aspect="equal")
  name = f"{domains[clip['domain']]}\n{WEATHERS[clip['weather']]}, {LIGHTS[clip['light']]}"
  line[0].set_ylabel(name.replace("_", " "), fontsize=8)
  for axis in line:
    axis.set_xticks([])
    axis.set_yticks([])


if __name__ == "__main__":
  program.run(main)
