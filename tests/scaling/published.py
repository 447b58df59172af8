"""Published run tables as arrays, with what must be known to read them; none of them is part of this repository."""

import csv
import pathlib

import numpy as np

from scaling.table import Runs

PORIAN_KEYS = ("hparams", "warmup", "decay", "param_count", "val")
# Name of the configuration, its keys, exponent a of N*(C) as published.
PORIAN = {
  "kaplan": (("base", "long", "kaplan", "kaplan", "train"), 0.835),
  "last_layer": (("base", "long", "kaplan", "standard", "val"), 0.706),
  "warm_up": (("base", "short", "kaplan", "standard", "val"), 0.602),
  "cosine": (("base", "short", "chinchilla", "standard", "val"), 0.571),
  "tuned": (("tuned", "short", "const", "standard", "val"), 0.497),
}


def table(path: pathlib.Path) -> list[dict[str, str]]:
  with open(path, newline="") as file:
    return list(csv.DictReader(file))


def columns(rows: list[dict[str, str]], *names: str) -> list[np.ndarray]:
  """float64 always: 6 N D passes 2^63."""
  return [np.array([float(row[name]) for row in rows]) for name in names]


def chinchilla(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """N, D, L of the 240 points that Besiroglu et al. keep: the five largest losses are dropped."""
  params, flops, loss = columns(table(path), "Model Size", "Training FLOP", "loss")
  kept = loss < np.sort(loss)[-5]
  return params[kept], (flops / 6 / params)[kept], loss[kept]


def porian(path: pathlib.Path, name: str) -> list[dict[str, str]]:
  """The rows of one configuration, without those that hold no number."""
  keys = PORIAN[name][0]
  rows = [row for row in table(path) if tuple(row[k] for k in PORIAN_KEYS) == keys]
  return [row for row in rows if "n" not in row or row["n"]]


def porian_runs(path: pathlib.Path, name: str) -> Runs:
  rows = porian(path, name)
  n, t, flops, loss = columns(rows, "n", "t", "flops", "loss")
  return Runs(params=n, tokens=t, flops=flops, loss=loss, rows=tuple(rows), table_sha256="")
