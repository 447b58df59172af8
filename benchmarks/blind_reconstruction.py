"""What reconstruction costs without looking: python benchmarks/blind_reconstruction.py --run=W [--dataset=DIR].

Of a finished run of masked reconstruction: its held-out loss beside those of two predictions that see nothing, both
taken from its training split. "constant" is one vector for every token of a sensor, "place" the mean of every place
and step. Each is the best of its kind: means where the error is squared, log odds of being hit for a LiDAR cell, and
the mean statistics of the cells that are hit. Averages are over all tokens of the evaluation split; which of them a
loss hides is drawn evenly, so the two compare. A model that is not below "place" has not learned to look. Clips
without an echo of the LiDAR say nothing of it, to the model as to the others.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

_CHUNK = 16


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--run", required=True, help="Run directory of a finished training.")
  parser.add_argument("--dataset", default="", help="Clips; empty: those it was trained on.")
  asked = parser.parse_args()
  print(json.dumps(compare(asked.run, asked.dataset), indent=1))


def compare(run: str, dataset: str) -> dict[str, dict[str, float]]:
  """{sensor: {"model", "constant", "place"}}, per token."""
  from experiments.run import open_run
  from experiments.tasks import masked, perception

  opened = open_run(run, dataset)
  encoder = perception.perception_config(opened.config, perception.clip_config(opened.dataset.config))
  asked = masked.targets(encoder, opened.config.loss.standardise)
  data = opened.config.data
  found = {}
  for sensor, (target, error) in asked.items():
    train, held_out = (_all(sensor, target, opened, split) for split in (data.train_split, data.eval_split))
    blind = {
      "constant": _guess(train, sensor, (0, 1, 2)),
      "place": _guess(train, sensor, (0,)),
    }
    found[sensor] = {"model": round(opened.row["loss_by_slice"][f"loss_{sensor}"], 4)}
    for name, guess in blind.items():
      losses = [np.asarray(error(np.broadcast_to(guess, part.shape), part)).mean() for part in held_out]
      found[sensor][name] = round(float(np.average(losses, weights=[len(part) for part in held_out])), 4)
  return found


def _all(sensor: str, target, opened, split: str) -> list[np.ndarray]:
  """Targets [records, T, S, P] of the records of a split that the sensor saw, in chunks."""
  from data.reader import RecordSource

  source = RecordSource(opened.dataset, split, opened.task.fields)
  parts = []
  for start in range(0, len(source), _CHUNK):
    rows = np.arange(start, min(start + _CHUNK, len(source)))
    batch = opened.task.to_batch(source.stacked(rows))
    parts.append(np.asarray(target(batch))[saw(sensor, batch)])
  return [part for part in parts if len(part)]


def saw(sensor: str, batch: dict[str, np.ndarray]) -> np.ndarray:
  """Bool [B]: a LiDAR that has no echo in some step of a clip was not there."""
  if sensor == "lidar":
    return batch["echo_BxTxP"].any(-1).all(-1)
  return np.ones(len(batch["real_B"]), bool)


def _guess(parts: list[np.ndarray], sensor: str, axes: tuple[int, ...]) -> np.ndarray:
  """The best prediction that is the same along `axes`."""
  from models.predictor_config import PILLAR_VALUES

  if sensor != "lidar":
    count = sum(np.prod([part.shape[a] for a in axes]) for part in parts)
    return sum(part.sum(axes, keepdims=True, dtype=np.float64) for part in parts) / count
  cells = [part.reshape(*part.shape[:-1], -1, PILLAR_VALUES) for part in parts]
  hit = sum(part[..., 0].sum(axes, keepdims=True, dtype=np.float64) for part in cells)
  count = sum(np.prod([part.shape[a] for a in axes]) for part in cells)
  share = (hit + 0.5) / (count + 1)  # nowhere certain
  sums = sum(part[..., 1:].sum(axes, keepdims=True, dtype=np.float64) for part in cells)
  guess = np.concatenate([np.log(share / (1 - share))[..., None], sums / np.maximum(hit, 1)[..., None]], -1)
  return guess.reshape(*guess.shape[:-2], -1)


if __name__ == "__main__":
  main()
