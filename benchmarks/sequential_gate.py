"""How long a stream the gate of shadow replay needs, how often it errs, and how often a repeated t-test does.

  python benchmarks/sequential_gate.py --out=results/shadow [--trials=2000] [--seed=1]

A slice of 2 % of the records loses 5 points of a score in [0, 1] (evaluation/shadowing/sequential_gate.py; nine
slices, 5 % false alarms). Scores differ by uniform noise of some spread, or are hits and misses on which the two runs
disagree at some rate. Both are looked at after every record. Prints JSON and writes it to --out.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

LOST, SHARE, SLICES, FALSE_ALARM = 0.05, 0.02, 9, 0.05
_T_QUANTILE = 1.6449  # one-sided 5 %


def graded(rng, shape: tuple[int, int], lost: float, spread: float) -> np.ndarray:
  return rng.uniform(-1, 1, shape) * spread * np.sqrt(3) - lost


def hits(rng, shape: tuple[int, int], lost: float, disagree: float) -> np.ndarray:
  draw, worse = rng.random(shape), 0.5 * (disagree + lost)
  return np.where(draw < worse, -1.0, np.where(draw > 1 - (disagree - worse), 1.0, 0.0))


def measure(make, level: float, most: int, trials: int, seed: int) -> dict:
  """Of the slice's records alone: how many show the loss, and how often noise alarms a slice, or a t-test."""
  from evaluation.shadowing.sequential_gate import evidence

  rng = np.random.default_rng(seed)
  enough = np.log(SLICES / FALSE_ALARM)
  log_E = evidence(-make(rng, (trials, most), LOST, level), 1.0)
  shown = log_E >= enough
  needed = np.where(shown.any(-1), shown.argmax(-1) + 1, np.inf)
  at = {q: float(np.quantile(needed, q, method="higher")) for q in (0.5, 0.95)}
  noise = -make(rng, (trials, most), 0.0, level)
  n = np.arange(1, most + 1)
  mean = noise.cumsum(-1) / n
  spread = np.sqrt(np.maximum((noise**2).cumsum(-1) / n - mean**2, 1e-12) * n / np.maximum(n - 1, 1))
  return {
    "slice_records_50": int(at[0.5]),
    "slice_records_95": int(at[0.95]),
    "stream_95": int(np.ceil(at[0.95] / SHARE)),
    "looked_at": most,
    "false_alarms_of_one_slice": float((evidence(noise, 1.0) >= enough).any(-1).mean()),
    "allowed_of_one_slice": FALSE_ALARM / SLICES,
    "repeated_t_test": float((mean > _T_QUANTILE * spread / np.sqrt(n))[:, 20:].any(-1).mean()),
  }


def main() -> None:
  from data.files import write_json_atomic

  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--trials", type=int, default=2000)
  parser.add_argument("--seed", type=int, default=1)
  given = parser.parse_args()
  found = {
    f"{name} {level:g}": measure(make, level, most, given.trials, given.seed)
    for name, make, level, most in (
      ("spread", graded, 0.1, 1000),
      ("spread", graded, 0.15, 1000),
      ("spread", graded, 0.25, 2000),
      ("hits that differ", hits, 0.1, 3000),
      ("hits that differ", hits, 0.2, 5000),
    )
  }
  result = {
    "seed": given.seed,
    "trials": given.trials,
    "lost": LOST,
    "share": SHARE,
    "slices": SLICES,
  } | found
  print(json.dumps(result, indent=1))
  given.out.mkdir(parents=True, exist_ok=True)
  write_json_atomic(given.out / "sequential_gate.json", result)


if __name__ == "__main__":
  main()
