"""Logs to a dataset: python -m data.build --source=sumo|commonroad|argoverse2 [--input=DIR] --out=DIR.

Simulated or real scenes are validated, split by group and cut into windows; the same arguments give the same
bytes with any number of workers.
"""

import concurrent.futures
import functools
import multiprocessing
from collections.abc import Callable
from typing import Any

from absl import flags

from experiments import program

_SOURCE = flags.DEFINE_enum("source", None, ["sumo", "commonroad", "argoverse2"], "Where the logs come from.")
_INPUT = flags.DEFINE_string("input", "", "Directory with the log files (commonroad, argoverse2).")
_OUT = flags.DEFINE_string("out", None, "Directory to make.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the simulated worlds and of the split.")
_SCENES = flags.DEFINE_integer("scenes_per_domain", 8, "Simulated worlds per domain.", lower_bound=3)
_STEPS = flags.DEFINE_integer("steps", 240, "Frames per simulated world.", lower_bound=8)
_NOISE = flags.DEFINE_float("driver_noise", 0.1, "Imperfection of simulated drivers, 0 to 1.", 0.0, 1.0)
_FRACTIONS = flags.DEFINE_list("fractions", ["0.8", "0.06", "0.14"], "Shares of train, tune and validation.")
_SPLIT_BY = flags.DEFINE_enum(
  "split_by", None, ["recording", "overlap"], "What stays on one side of a split; see data.splits."
)
_DT = flags.DEFINE_float("dt", 0.5, "Seconds per motion token.", lower_bound=0.1)
_WINDOW_STEPS = flags.DEFINE_integer("window_steps", 16, "Moves per window.", lower_bound=4)
_WINDOW_AGENTS = flags.DEFINE_integer("window_agents", 16, "Agents per window.", lower_bound=2)
_PHASES = flags.DEFINE_integer(
  "phases", 1, "Window sets per log, each starting at another frame.", lower_bound=1
)
_WORKERS = flags.DEFINE_integer("workers", 2, "Worker processes.", lower_bound=1)
flags.mark_flags_as_required(["source", "out"])

SPLITS = ("train", "tune", "validation")
_MAX_BAD_SHARE = 0.1  # of scenes that may be unusable before the build is refused


def main() -> int:
  from data import dataset_writer
  from data.errors import BadInput
  from data.windows import WindowConfig
  from experiments.progress import Progress

  try:
    fractions = dict(zip(SPLITS, map(float, _FRACTIONS.value), strict=True))
  except ValueError:
    raise BadInput(f"not three numbers: {_FRACTIONS.value}", "--fractions", "write 0.8,0.06,0.14") from None
  dataset_writer.require_new(_OUT.value)
  window = WindowConfig(
    dt=_DT.value,
    steps=_WINDOW_STEPS.value,
    agents=_WINDOW_AGENTS.value,
    points=64,
    stops=2,
    phases=_PHASES.value,
  )
  jobs, load, assigned = _simulated(fractions) if _SOURCE.value == "sumo" else _recorded(fractions)
  domains = tuple(sorted({domain for domain, _ in assigned}))
  bad: list[str] = []

  def examples(pool, bar):
    made = pool.map(functools.partial(_make, load=load, window=window, domains=domains), jobs)
    for (scene, windows, why), (_, split) in zip(made, assigned, strict=True):
      bar.update(1)
      if scene is not None:
        yield split, scene, windows
        continue
      bad.append(why)
      if len(bad) > max(1, _MAX_BAD_SHARE * len(jobs)):
        raise BadInput(
          f"{len(bad)} of {len(jobs)} scenes are unusable ({why})", _SOURCE.value, "repair the logs"
        )

  notes = {"source": _SOURCE.value, "seed": _SEED.value, "scenes": len(jobs), "unusable": bad}
  spawn = multiprocessing.get_context("spawn")
  with (
    concurrent.futures.ProcessPoolExecutor(_WORKERS.value, spawn) as pool,
    Progress(len(jobs), f"{_SOURCE.value} scenes", unit="scene") as bar,
  ):
    manifest = dataset_writer.write_dataset(_OUT.value, examples(pool, bar), window, domains, SPLITS, notes)
  for name, counts in manifest["splits"].items():
    print(
      f"{name:<11}{counts['scenes']:>6} scenes {counts['windows']:>8} windows {counts['tokens']:>10} moves"
    )
  for why in bad:
    print(f"left out: {why}")
  return 0


def _simulated(fractions: dict[str, float]) -> tuple[list, Callable, list[tuple[str, str]]]:
  """Jobs, their loader, and (domain, split) of each: every world has its own map, seed and recording."""
  import numpy as np

  from data import splits, sumo
  from data.schema import Metadata
  from data.traces import Trace

  jobs = sumo.plan(_SEED.value, _SCENES.value, _STEPS.value, _DT.value, _NOISE.value)
  worlds = [
    Trace(
      Metadata(
        scene_id=f"{job.seed:020d}",
        source="sumo",
        domain=job.domain,
        geography="",
        route="",
        map_id=str(job.seed),
        recording=str(job.seed),
        start_s=-1.0,
        dt=job.dt,
        seed=job.seed,
      ),
      job.steps * job.dt,
      np.zeros(0, np.uint64),
    )
    for job in jobs
  ]
  found = splits.assign(worlds, fractions, _SEED.value, _SPLIT_BY.value or "recording")
  return jobs, sumo.simulate, [(w.metadata.domain, found[w.metadata.scene_id]) for w in worlds]


def _recorded(fractions: dict[str, float]) -> tuple[list, Callable, list[tuple[str, str]]]:
  """The same for log files: all are read once to see which of them show the same traffic."""
  from data import argoverse2, commonroad, splits, traces
  from data.errors import BadInput

  if not _INPUT.value:
    raise BadInput("is missing", "--input", "name the directory with the logs")
  source = {"commonroad": commonroad, "argoverse2": argoverse2}[_SOURCE.value]
  paths = source.find(_INPUT.value)
  seen = [traces.trace(source.read(path)) for path in paths]
  by = _SPLIT_BY.value or ("overlap" if _SOURCE.value == "commonroad" else "recording")
  found = splits.assign(seen, fractions, _SEED.value, by)
  return paths, source.read, [(t.metadata.domain, found[t.metadata.scene_id]) for t in seen]


def _make(job: Any, load: Callable, window: Any, domains: tuple[str, ...]) -> tuple:
  """In a worker: (scene, windows, "") or (None, [], why the scene is unusable)."""
  from data.errors import BadInput
  from data.windows import windows_of

  try:
    scene = load(job)
  except BadInput as error:
    return None, [], str(error)
  return scene, windows_of(scene, window, domains.index(scene.metadata.domain)), ""


if __name__ == "__main__":
  program.run(main)
