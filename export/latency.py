"""How long an answer takes: every call timed, the tail told beside the middle."""

import os
import platform
import time
from collections.abc import Callable, Mapping

import numpy as np

from export.runtimes import Answer

WARM = 10  # calls before the first that counts


def interleaved(
  answers: Mapping[str, Answer], arrays: Mapping[str, np.ndarray], calls: int
) -> dict[str, dict[str, float]]:
  """name -> milliseconds {p50, p99, p99.9, worst} of so many calls each, taken in turn: what slows one slows all."""
  clock: Callable[[], int] = time.perf_counter_ns
  taken: dict[str, list[int]] = {name: [] for name in answers}
  for call in range(WARM + calls):
    for name, answer in answers.items():
      start = clock()
      answer(arrays)
      if call >= WARM:
        taken[name].append(clock() - start)
  return {name: tail(np.asarray(own) / 1e6) for name, own in taken.items()}


def tail(milliseconds: np.ndarray) -> dict[str, float]:
  middle, high, higher = np.quantile(milliseconds, [0.5, 0.99, 0.999])
  return {
    "p50": float(middle),
    "p99": float(high),
    "p99.9": float(higher),
    "worst": float(milliseconds.max()),
  }


def machine(threads: int) -> dict[str, object]:
  """What a latency was measured on."""
  model = platform.processor() or platform.machine()
  try:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
      model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), model)
  except OSError:
    pass  # not Linux
  return {"processor": model, "cores": os.cpu_count(), "threads": threads, "system": platform.system()}
