"""How long an answer takes: every call timed, the tail told beside the middle."""

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Mapping

import numpy as np

from export import processor
from export.runtimes import Answer

WARM = 10  # calls before the first that counts
RARE = 1000  # calls of which one in a thousand can be told
_RUNTIMES = ("onnxruntime", "openvino", "ai-edge-litert", "tensorflow-cpu", "jax")
_INTEGERS = ("avx2", "avx_vnni", "avx512_vnni", "amx_int8", "amx_bf16")  # what integer products are made with


def interleaved(
  answers: Mapping[str, Answer], arrays: Mapping[str, np.ndarray], calls: int
) -> dict[str, dict[str, float]]:
  """name -> `tail` of the milliseconds of so many calls each.

  They are taken in turn, what slows one slows all, and begin with another one each time: nobody always finds the
  caches as the same neighbour left them.
  """
  clock: Callable[[], int] = time.perf_counter_ns
  taken: dict[str, list[int]] = {name: [] for name in answers}
  names = list(answers)
  for call in range(WARM + calls):
    first = call % max(len(names), 1)
    for name in names[first:] + names[:first]:
      start = clock()
      answers[name](arrays)
      if call >= WARM:
        taken[name].append(clock() - start)
  return {name: tail(np.asarray(own) / 1e6) for name, own in taken.items()}


def tail(milliseconds: np.ndarray) -> dict[str, float]:
  """calls, p50, p99, worst; p99.9 where there are enough to tell it."""
  shares = {"p50": 0.5, "p99": 0.99} | ({"p99.9": 0.999} if len(milliseconds) >= RARE else {})
  found = {name: float(np.quantile(milliseconds, share)) for name, share in shares.items()}
  return {"calls": len(milliseconds)} | found | {"worst": float(milliseconds.max())}


def machine(threads: int | None) -> dict[str, object]:
  """What a latency was measured on, by what and beside how much else. threads: None where a runtime chooses them."""
  model, flags = processor.described()
  there = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions()}
  return {
    "processor": model,
    "cores": os.cpu_count(),
    "threads": threads,
    "system": platform.system(),
    "integers": [flag for flag in _INTEGERS if flag in flags],
    "versions": {name: there[name] for name in _RUNTIMES if name in there},
    "load": round(os.getloadavg()[0], 1),
  }
