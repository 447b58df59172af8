"""Interrupts real training runs and damages real checkpoints; loses nothing and loads nothing wrong.

  python -m tests.experiments.faults --kills=20 --flips=100 --workdir=build/faults

1. A run is killed (SIGKILL) at `kills` random steps, some of them in the middle of a save, stopped once with
   SIGTERM, and restarted each time: its metrics, its row and its last state, optimiser included, must be bit
   for bit those of a run that nobody touched.
2. `flips` times one random bit of one random file of the newest checkpoint is flipped: the state restored must
   be, bit for bit, that of the checkpoint before.
3. Fault 1 again for a run of two processes, of which one is interrupted; before that, its loss must agree with
   that of the run of one process to 1e-5 over 20 steps.
4. A run that was begun on one device is stopped, continued by two processes that split the model between them,
   stopped, and finished on eight devices: its held-out loss must agree with the untouched run's to 1e-5.

tests/experiments/test_faults.py runs the short form.
"""

import argparse
import json
import logging
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import typing

ROOT = pathlib.Path(__file__).resolve().parents[2]
# One device, whatever the tests simulate; hardly optimised, as in tests/conftest.py: short runs mostly compile.
_FLAGS = "--xla_backend_optimization_level=0"
# Compiled modules of Python are kept, for programs that start many times.
_KEPT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT = _KEPT | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": _FLAGS}

_NOT_REPEATABLE = ("run_id", "seconds", "data_wait_share")  # of a row: a name and two clocks
_LIMIT_S = 600


def build_dataset(out: pathlib.Path) -> None:
  """A small dataset from simulated logs."""
  options = ["--source=sumo", f"--out={out}", "--scenes_per_domain=3", "--steps=64", "--workers=1"]
  subprocess.run(
    [sys.executable, "-m", "data.build", *options], cwd=ROOT, env=ENVIRONMENT, check=True, timeout=_LIMIT_S
  )


class Place(typing.NamedTuple):
  """Where a run computes: so many processes, a mesh over the devices of all."""

  processes: int = 1
  data: int = 1
  fsdp: int = 1
  tensor: int = 1

  def devices(self) -> int:
    """Of each process."""
    return self.data * self.fsdp * self.tensor // self.processes


ALONE, TOGETHER, DIVIDED, EIGHT = Place(), Place(2, data=2), Place(2, tensor=2), Place(1, 2, 2, 2)


def start(
  dataset: pathlib.Path, run: pathlib.Path, place: Place, base: pathlib.Path | None = None
) -> list[subprocess.Popen]:
  """The processes of one training run; it saves every 4 steps, so that many interruptions meet a save.

  base: a finished run; the new one begins with its weights, follows it, and makes a single step.
  """
  name = "motion_distil" if base else "motion"
  options = [f"--config={ROOT / 'experiments/configs'}/{name}.py:tiny", f"--workdir={run}"]
  settings = {
    "data.dataset": dataset, "tokens": 40000, "log_every": 1, "checkpoint.every_steps": 4,
    "model.layers": 2, "model.width": 16, "data.batch_windows": 4,
    "mesh.data": place.data, "mesh.fsdp": place.fsdp, "mesh.tensor": place.tensor,
  }  # fmt: skip
  if base:
    settings |= {"start.run": base, "loss.teacher": base, "tokens": 1}
  options += [f"--config.{key}={value}" for key, value in settings.items()]
  if place.processes > 1:
    options += [f"--coordinator=localhost:{free_port()}", f"--processes={place.processes}"]
  command = [sys.executable, "-m", "experiments.train", *options]
  flags = f"{_FLAGS} --xla_force_host_platform_device_count={place.devices()}"
  return [
    subprocess.Popen(
      [*command, f"--process={index}"],
      cwd=ROOT, env=ENVIRONMENT | {"XLA_FLAGS": flags}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )
    for index in range(place.processes)
  ]  # fmt: skip


def free_port() -> int:
  with socket.socket() as held:
    held.bind(("localhost", 0))
    return held.getsockname()[1]


def finish(
  dataset: pathlib.Path, run: pathlib.Path, place: Place = ALONE, base: pathlib.Path | None = None
) -> dict:
  """Lets the run come to its end; returns its row without what depends on the clock."""
  for process in start(dataset, run, place, base):
    _, errors = process.communicate(timeout=_LIMIT_S)
    assert process.returncode == 0, f"training ended with exit code {process.returncode}:\n{errors}"
  row = json.loads((run / "result.json").read_text())
  return {key: value for key, value in row.items() if key not in _NOT_REPEATABLE}


def interrupt(
  dataset: pathlib.Path,
  run: pathlib.Path,
  step: int,
  sent: signal.Signals,
  delay_s: float,
  place: Place = ALONE,
) -> None:
  """Starts the run and sends its last process a signal `delay_s` after it has begun and `step` was logged.

  All processes must save and exit 42 after SIGTERM or SIGINT; none may believe itself done after SIGKILL.
  """
  attempts = _starts(run)
  group = start(dataset, run, place)

  def waiting() -> bool:
    return _starts(run) == attempts or last_step(run) < step

  try:
    deadline = time.monotonic() + _LIMIT_S
    while waiting() and group[-1].poll() is None and time.monotonic() < deadline:
      time.sleep(0.001)
    time.sleep(delay_s)
    group[-1].send_signal(sent)
    errors = [process.communicate(timeout=_LIMIT_S)[1] for process in group]
  finally:
    for process in group:
      process.kill()
  codes = [process.returncode for process in group]
  stopped = all(code == 42 for code in codes)
  killed = codes[-1] == -signal.SIGKILL and not {0, 2, 42} & set(codes)
  assert killed if sent == signal.SIGKILL else stopped, f"{sent.name} at {step}: {codes}\n{errors}"


def _starts(run: pathlib.Path) -> int:
  """How often the run has begun: its processes have met, the directory is theirs."""
  path = run / "attempts.jsonl"
  return path.read_text().count('"event":"start"') if path.exists() else 0


def last_step(run: pathlib.Path) -> int:
  try:
    lines = (run / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
  except FileNotFoundError:
    return 0
  return json.loads(lines[-1])["step"] if lines else 0


def survive(
  folder: pathlib.Path, dataset: pathlib.Path, kills: int, rng: random.Random, place: Place = ALONE
) -> dict:
  """Fault 1. Leaves folder/untouched-<processes> and folder/interrupted-<processes>; returns counts."""
  untouched, run = (folder / f"{name}-{place.processes}" for name in ("untouched", "interrupted"))
  wanted = finish(dataset, untouched, place)
  steps = wanted["steps"]
  signals = [signal.SIGKILL] * kills + [signal.SIGTERM]
  rng.shuffle(signals)
  counts = {"kills": kills, "stops": 1, "unfinished_saves_met": 0}
  for step, sent in zip(sorted(rng.choices(range(1, steps - 8), k=len(signals))), signals, strict=True):
    interrupt(dataset, run, step, sent, rng.uniform(0, 0.05), place)
    counts["unfinished_saves_met"] += bool(_unfinished(run))
    print(f"{sent.name} at step {last_step(run)} of {steps}; unfinished: {_unfinished(run)}", flush=True)
  row = finish(dataset, run, place)
  assert row == wanted, f"rows differ: {row} and {wanted}"
  metrics = [(place / "metrics.jsonl").read_bytes() for place in (untouched, run)]
  assert metrics[0] == metrics[1], "metrics.jsonl differs"
  (step, state), (other_step, other) = newest(untouched), newest(run)
  assert step == other_step == steps and bits(state) == bits(other), "the last states differ"
  return counts


def move(dataset: pathlib.Path, run: pathlib.Path, places: list[Place]) -> float:
  """Fault 4: the run is stopped a few steps after each start, and continued on the next of `places` in turn.

  Returns its held-out loss.
  """
  for place in places[:-1]:
    interrupt(dataset, run, last_step(run) + 10, signal.SIGTERM, 0, place)
  loss = finish(dataset, run, places[-1])["loss"]
  facts = json.loads((run / "provenance.json").read_text())
  recorded = [start["operational"]["mesh"] for start in (facts, *facts["restarts"])]
  assert [(mesh["data"], mesh["fsdp"], mesh["tensor"]) for mesh in recorded] == [p[1:] for p in places]
  return loss


def largest_difference(run: pathlib.Path, other: pathlib.Path, steps: int) -> float:
  """Of the losses of the first `steps` steps of two runs, relative."""
  losses = []
  for place in (run, other):
    lines = (place / "metrics.jsonl").read_text().splitlines()[:steps]
    losses.append([json.loads(line)["loss"] for line in lines])
  assert len(losses[0]) == len(losses[1]) == steps
  return max(abs(a - b) / a for a, b in zip(*losses, strict=True))


def _unfinished(run: pathlib.Path) -> list[str]:
  good = {path.stem for path in (run / "manifests").glob("*.json")}
  return sorted(path.name for path in (run / "checkpoints").glob("*") if path.name not in good)


def flip(run: pathlib.Path, folder: pathlib.Path, flips: int, rng: random.Random) -> dict:
  """Fault 2, on copies of `run`, which keeps two checkpoints. Returns how many flips each file name met."""
  from experiments.checkpoints import Checkpoints

  spec = abstract_state(run)
  kept = Checkpoints(run, keep=2, read_only=True).steps()
  older = folder / "older"
  shutil.copytree(run, older)
  (older / "manifests" / f"{kept[-1]}.json").unlink()
  wanted = bits(newest(older)[1])
  counts: dict[str, int] = {}
  for _ in range(flips):
    copy = folder / "flipped"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    arrays = sorted(p for p in (copy / "checkpoints" / str(kept[-1])).rglob("*") if p.is_file())
    victim = rng.choice([*arrays, copy / "manifests" / f"{kept[-1]}.json"])
    content = bytearray(victim.read_bytes())
    bit = rng.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    victim.write_bytes(content)
    reader = Checkpoints(copy, keep=2)
    restored = reader.restore_newest(spec)
    assert restored is not None and restored[0] == kept[-2], f"bit {bit} of {victim} was not noticed"
    assert bits(restored[1]) == wanted, f"bit {bit} of {victim} changed the state"
    assert reader.quarantined == 1
    kind = victim.name if len(victim.name) < 32 else "data"
    counts[kind] = counts.get(kind, 0) + 1
  return counts


def abstract_state(run: pathlib.Path):
  """The state that the training program of `run` would restore, on the first device."""
  from data import datasets
  from experiments.config import from_dict
  from experiments.run import describe
  from experiments.run_directory import read_config

  config = from_dict(read_config(run))
  return describe(config, datasets.open_dataset(config.data.dataset))[1]


def newest(run: pathlib.Path):
  """(step, state) of the newest good checkpoint; nothing is moved."""
  from experiments.checkpoints import Checkpoints

  restored = Checkpoints(run, keep=2, read_only=True).restore_newest(abstract_state(run))
  assert restored is not None, f"{run} has no checkpoint"
  return restored[:2]


def bits(state) -> list[bytes]:
  import jax
  import numpy as np

  return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--kills", type=int, default=20)
  parser.add_argument("--flips", type=int, default=100)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--workdir", type=pathlib.Path, default=ROOT / "build" / "faults")
  options = parser.parse_args()
  shutil.rmtree(options.workdir, ignore_errors=True)
  options.workdir.mkdir(parents=True)
  folder, rng = options.workdir.absolute(), random.Random(options.seed)
  build_dataset(folder / "dataset")
  logging.disable(logging.ERROR)  # each flip would be reported, as it should
  print(survive(folder, folder / "dataset", options.kills, rng), "metrics, row and last state identical")
  print(flip(folder / "interrupted-1", folder, options.flips, rng), "flips, none loaded")
  print(survive(folder, folder / "dataset", options.kills // 5, rng, TOGETHER), "identical, two processes")
  difference = largest_difference(folder / "untouched-1", folder / "untouched-2", 20)
  assert difference < 1e-5, difference
  print(f"one and two processes differ by {difference:.1e} in loss over 20 steps")
  loss = json.loads((folder / "untouched-1" / "result.json").read_text())["loss"]
  difference = abs(move(folder / "dataset", folder / "moved", [ALONE, DIVIDED, EIGHT]) - loss) / loss
  assert difference < 1e-5, difference
  print(f"a run that moved from one device to two processes to eight devices differs by {difference:.1e}")


if __name__ == "__main__":
  main()
