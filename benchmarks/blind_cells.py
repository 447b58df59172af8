"""What bird's-eye cells cost without looking: python benchmarks/blind_cells.py --dataset=CLIPS [--ahead=2].

How frequent each class is in the training clips, anywhere ("constant") or at each place of the grid ("place"), asked
for the cells of held-out clips:

  nats, accuracy   of segmentation (every step) and of occupancy (the next steps, --ahead of them)
  velocity         what a constant field costs flow matching of the next step: the variance of u = x1 - x0
  denoiser         what the best linear field in x_t costs it, for each channel and place by itself

A class c is the channels x1 = -1 or 1. With s^2 the variance of a channel, its constant field costs 1 + s^2, and the
linear one, averaged over t in [0, 1] with x_t = (1 - t) x0 + t x1,

  integral of s^2 / ((1 - t)^2 + t^2 s^2) dt = s pi / 2.

A model that is not below these has not learned to look. Prints JSON.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--dataset", required=True, help="Dataset of clips, made by data.render.")
  parser.add_argument("--ahead", type=int, default=2, help="Steps ahead of occupancy.")
  asked = parser.parse_args()
  train, judged = (cells(asked.dataset, split) for split in ("train", "validation"))
  steps = train.shape[1]
  later = [t + j for t in range(steps) for j in range(1, asked.ahead + 1) if t + j < steps]
  found = {"segmentation": blind(train, judged), "occupancy": blind(train[:, later], judged[:, later])}
  found["next step"] = blind(train[:, 1:], judged[:, 1:])
  print(json.dumps(found, indent=1))


def cells(dataset: str, split: str) -> np.ndarray:
  """Classes [records, T, H, W] of a split."""
  from data.datasets import open_dataset
  from data.reader import RecordSource

  source = RecordSource(open_dataset(dataset), split, ("cells_TxHxW",))
  return source.stacked(np.arange(len(source)))["cells_TxHxW"]


def blind(train_NxTxHxW: np.ndarray, judged_NxTxHxW: np.ndarray) -> dict[str, dict[str, float]]:
  """{"constant" and "place": {"nats", "accuracy", "velocity", "denoiser"}}; frequencies are of counts plus one."""
  from data.clips import CELL_CLASSES

  counts_HxWxV, judged_HxWxV = (
    np.stack([(part == k).sum((0, 1)) for k in range(len(CELL_CLASSES))], -1).astype(float)
    for part in (train_NxTxHxW, judged_NxTxHxW)
  )
  found = {}
  for name, counts in (("constant", counts_HxWxV.sum((0, 1), keepdims=True)), ("place", counts_HxWxV)):
    share = (counts + 1) / (counts + 1).sum(-1, keepdims=True)
    likeliest = np.broadcast_to(share.argmax(-1)[..., None], (*judged_HxWxV.shape[:-1], 1))
    truth = judged_HxWxV / judged_HxWxV.sum(-1, keepdims=True)
    spread = 4 * (truth * (1 - share) ** 2 + (1 - truth) * share**2)  # of held-out x1 about the training mean
    deviation = np.sqrt(4 * share * (1 - share))
    denoiser = 0.5 * (deviation + spread / deviation) * np.pi / 2
    found[name] = {
      "nats": float(-(truth * np.log(share)).sum(-1).mean()),
      "accuracy": float(np.take_along_axis(truth, likeliest, -1).mean()),
      "velocity": float(1 + spread.mean()),
      "denoiser": float(denoiser.mean()),
    }
  return found


if __name__ == "__main__":
  main()
