"""Logs to a dataset: python -m data.build --source=sumo|commonroad|argoverse2|markov [--input=DIR] --out=DIR.

Simulated or real scenes are validated, split by group and cut into windows; the same arguments give the same
bytes with any number of workers. Scenes that are unusable are listed here and in dataset.json; more than one
in ten of them (and more than one) stops the build. The source markov has no scenes: its tokens are drawn from
known probabilities (data.markov), so that what training and fitting say of them can be checked.
"""

import concurrent.futures
import functools
import logging
import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags

from experiments import program

_SOURCE = flags.DEFINE_enum(
  "source", None, ["sumo", "commonroad", "argoverse2", "markov"], "Where the logs come from.", required=True
)
_INPUT = flags.DEFINE_string("input", "", "Directory with the log files (commonroad, argoverse2).")
_OUT = flags.DEFINE_string("out", None, "Directory to make.", required=True)
_SEED = flags.DEFINE_integer(
  "seed", 0, "Seed of the simulated worlds or streams and of the split.", lower_bound=0
)
_SCENES = flags.DEFINE_integer(
  "scenes_per_domain", 8, "Simulated worlds or streams per domain.", lower_bound=3
)
_STEPS = flags.DEFINE_integer("steps", 240, "Frames per simulated world, moves per stream.", lower_bound=8)
_WEATHERS = flags.DEFINE_list(
  "weathers", [], "Weather of a domain's simulated worlds, in turn, each in every split; empty: drawn."
)
_NOISE = flags.DEFINE_float("driver_noise", 0.1, "Imperfection of simulated drivers, 0 to 1.", 0.0, 1.0)
_FRACTIONS = flags.DEFINE_list("fractions", ["0.8", "0.06", "0.14"], "Shares of train, tune and validation.")
_SPLIT_BY = flags.DEFINE_enum(
  "split_by",
  None,
  ["recording", "overlap"],
  "What stays on one side of a split, see data.splits; overlap for commonroad, recording for the others.",
)
_DT = flags.DEFINE_float("dt", 0.5, "Seconds per motion token.", lower_bound=0.1)
_WINDOW_STEPS = flags.DEFINE_integer("window_steps", 16, "Moves per window.", lower_bound=4)
_WINDOW_AGENTS = flags.DEFINE_integer("window_agents", 16, "Agents per window.", lower_bound=2)
_PHASES = flags.DEFINE_integer(
  "phases", 1, "Window sets per log, each starting at another frame.", lower_bound=1
)
_PUSHED = flags.DEFINE_float(
  "pushed", 0.0, "Share of agents of train that are pushed aside now and then, see data.pushes.", 0.0, 1.0
)
_WORKERS = flags.DEFINE_integer("workers", 2, "Worker processes.", lower_bound=1)

SPLITS = ("train", "tune", "validation")
_MADE_HERE = ("sumo", "markov")  # sources that read no files
_MAX_BAD_SHARE = 0.1  # of scenes that may be unusable, but always one


def main() -> int:
  from data import dataset_writer, markov, splits
  from data.datasets import KINDS
  from data.errors import BadInput
  from data.in_order import in_order
  from data.windows import WindowConfig
  from experiments.progress import Progress

  try:
    fractions = dict(zip(SPLITS, map(float, _FRACTIONS.value), strict=True))
  except ValueError:
    raise BadInput(f"not three numbers: {_FRACTIONS.value}", "--fractions", "write 0.8,0.06,0.14") from None
  if bool(_INPUT.value) == (_SOURCE.value in _MADE_HERE):
    raise BadInput(
      f"is {_INPUT.value!r} for {_SOURCE.value}", "--input", "name the logs' directory, for real logs only"
    )
  if _WEATHERS.value and _SOURCE.value != "sumo":
    raise BadInput(f"is {_WEATHERS.value} for {_SOURCE.value}", "--weathers", "leave it out")
  dataset_writer.require_new(_OUT.value)
  window = WindowConfig(_DT.value, _WINDOW_STEPS.value, _WINDOW_AGENTS.value, 64, 2, _PHASES.value, 4)
  split_by = _SPLIT_BY.value or ("overlap" if _SOURCE.value == "commonroad" else "recording")
  kinds = ("windows",) if _SOURCE.value == "markov" else KINDS
  bad: list[str] = []
  pool = concurrent.futures.ProcessPoolExecutor(_WORKERS.value, multiprocessing.get_context("spawn"))
  try:
    if _SOURCE.value in _MADE_HERE:
      jobs, make = _simulated(fractions, split_by)
    else:
      jobs, make = _recorded(pool, fractions, split_by, bad)
    total = len(jobs) + len(bad)
    domains = tuple(sorted({domain for _, domain, _ in jobs}))
    notes = {"source": _SOURCE.value, "arguments": _arguments(split_by), "scenes": total, "unusable": bad}
    if _SOURCE.value == "markov":
      notes["entropy"] = {domain: markov.entropy(domain) for domain in domains}

    def examples(bar) -> Iterator[tuple]:
      work = functools.partial(make, window=window, domains=domains)
      for (scene, windows, why), (_, _, split) in zip(
        in_order(pool, work, [(job, split) for job, _, split in jobs], 2 * _WORKERS.value), jobs, strict=True
      ):
        bar.update(1)
        if why:
          _leave_out(bad, why, total)
        else:
          yield split, scene, windows

    with Progress(len(jobs), f"{_SOURCE.value} scenes", unit="scene") as bar:
      manifest = dataset_writer.write_dataset(
        _OUT.value, examples(bar), window, domains, SPLITS, notes, kinds
      )
  finally:
    pool.shutdown(cancel_futures=True)
  for name, count in manifest["splits"].items():
    print(f"{name:<11}{count['scenes']:>6} scenes {count['windows']:>8} windows {count['tokens']:>10} moves")
  for why in bad:
    print(f"left out: {why}")
  if told := splits.departure(
    {name: count["scenes"] for name, count in manifest["splits"].items()}, fractions
  ):
    logging.warning(told)
  return 0


def _arguments(split_by: str) -> dict[str, Any]:
  """What the bytes depend on, besides the logs and the versions."""
  values = {
    "seed": _SEED, "fractions": _FRACTIONS, "dt": _DT, "window_steps": _WINDOW_STEPS,
    "window_agents": _WINDOW_AGENTS, "phases": _PHASES,
  }  # fmt: skip
  if _SOURCE.value in _MADE_HERE:
    values |= {"scenes_per_domain": _SCENES, "steps": _STEPS}
  if _SOURCE.value == "sumo":
    values |= {"driver_noise": _NOISE}
  if _WEATHERS.value:
    values |= {"weathers": _WEATHERS}
  if _PUSHED.value:
    values |= {"pushed": _PUSHED}
  return {name: flag.value for name, flag in values.items()} | {"split_by": split_by}


def _simulated(fractions: dict[str, float], split_by: str) -> tuple[list, Callable]:
  """[(job, domain, split)] and what makes windows of a job: every world has a map, seed and recording of its own."""
  import numpy as np

  from data import markov, splits, sumo
  from data.errors import BadInput
  from data.schema import Metadata
  from data.traces import Trace

  jobs: list[Any]
  if _SOURCE.value == "markov":
    if _PUSHED.value:
      raise BadInput(f"is {_PUSHED.value} for streams of tokens", "--pushed", "leave it out")
    jobs, make = list(markov.plan(_SEED.value, _SCENES.value, _STEPS.value, _DT.value)), _draw
  else:
    jobs = list(
      sumo.plan(
        _SEED.value, _SCENES.value, _STEPS.value, _DT.value, _NOISE.value, sumo.DOMAINS, _WEATHERS.value
      )
    )
    make = functools.partial(_cut, load=sumo.simulate, pushed=_PUSHED.value)

  def stratum(job) -> str:
    return f"{job.domain} {job.weather}" if _WEATHERS.value else job.domain

  worlds = [
    Trace(
      Metadata(
        scene_id=f"{job.seed:020d}", source=_SOURCE.value, domain=stratum(job), geography="", route="",
        map_id=str(job.seed), recording=str(job.seed), start_s=-1.0, dt=job.dt, seed=job.seed,
      ),
      job.steps * job.dt,
      np.zeros(0, np.uint64),
    )
    for job in jobs
  ]  # fmt: skip
  found = splits.assign(worlds, fractions, _SEED.value, split_by)
  named = [(job, job.domain, found[w.metadata.scene_id]) for job, w in zip(jobs, worlds, strict=True)]
  return named, make


def _recorded(pool, fractions: dict[str, float], split_by: str, bad: list[str]) -> tuple[list, Callable]:
  """The same for log files: all are read once to see which of them show the same traffic."""
  from data import argoverse2, commonroad, splits
  from data.errors import BadInput
  from data.in_order import in_order
  from experiments.progress import Progress

  source = {"commonroad": commonroad, "argoverse2": argoverse2}[_SOURCE.value]
  paths = source.find(_INPUT.value)
  seen = []
  with Progress(len(paths), "reading logs", unit="log") as bar:
    look = in_order(pool, functools.partial(_look, read=source.read), paths, 2 * _WORKERS.value)
    for path, (trace, why) in zip(paths, look, strict=True):
      bar.update(1)
      if trace is None:
        _leave_out(bad, why, len(paths))
      else:
        seen.append((path, trace))
  try:
    found = splits.assign([trace for _, trace in seen], fractions, _SEED.value, split_by)
  except BadInput as error:
    if not bad:
      raise
    what = f"{error.what} ({len(bad)} of {len(paths)} logs are unusable, the last: {bad[-1]})"
    raise BadInput(what, error.where, error.remedy) from None
  jobs = [(path, t.metadata.domain, found[t.metadata.scene_id]) for path, t in seen]
  return jobs, functools.partial(_cut, load=source.read, pushed=_PUSHED.value)


def _leave_out(bad: list[str], why: str, total: int) -> None:
  """Notes an unusable scene; too many of them, or nothing else, raise BadInput."""
  from data.errors import BadInput

  bad.append(why)
  if len(bad) == total or len(bad) > max(1, _MAX_BAD_SHARE * total):
    raise BadInput(
      f"{len(bad)} of {total} scenes are unusable, the last: {why}", "logs", "repair or remove them"
    )


def _look(path: Any, read: Callable) -> tuple:
  """In a worker: (trace, "") or (None, why the log is unusable)."""
  from data import traces
  from data.errors import BadInput

  try:
    return traces.trace(read(path)), ""
  except BadInput as error:
    return None, str(error)


def _cut(
  named: tuple[Any, str], load: Callable, window: Any, domains: tuple[str, ...], pushed: float
) -> tuple:
  """In a worker, of a job and its split: (scene, windows, "") or (None, [], why the scene is unusable)."""
  from data.errors import BadInput
  from data.windows import windows_of

  job, split = named
  try:
    scene = load(job)
    domain = domains.index(scene.metadata.domain)
    return scene, windows_of(scene, window, domain, pushed if split == SPLITS[0] else 0.0), ""
  except BadInput as error:
    return None, [], str(error)


def _draw(named: tuple[Any, str], window: Any, domains: tuple[str, ...]) -> tuple:
  """In a worker, of a job and its split: (None, windows, "") of its tokens, or (None, [], why there are none)."""
  from data import markov
  from data.errors import BadInput

  try:
    job, _ = named
    return None, markov.windows(job, window, domains.index(job.domain)), ""
  except BadInput as error:
    return None, [], str(error)


if __name__ == "__main__":
  program.run(main)
