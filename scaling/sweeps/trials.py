"""Trials: what a sweep consists of. One JSON line each, a plain command line that any engine can run.

A config file holds `get_config(variant)` and `sweep(variant)`, a list of points (points.py). What a point says
about its trial is no part of a trial's identity, nor are operational keys such as the mesh (experiments/identity.py):
a sweep may be continued on other devices.
"""

import dataclasses
import difflib
import hashlib
import json
import os
import pathlib
import runpy
from collections.abc import Mapping, Sequence
from typing import Any

from data.errors import BadInput
from data.files import canonical_json, write_text_atomic
from experiments.identity import identity
from scaling.sweeps.points import Resources, divide, read_resources


@dataclasses.dataclass(frozen=True)
class Trial:
  """One run to be made.

  Attributes:
    trial_id: first 12 hex digits of SHA-256 over the canonical JSON of [module, identity of the config].
    module: program to run, `python -m <module>`.
    argv: its arguments, but for --workdir.
    workdir: directory of the run, below the sweep's own.
    seed: the run's seed.
    tokens: training budget.
    dataset: directory of the data it needs.
    flops: expected training FLOPs; 0 when the config does not say. Orders the trials, weighs the progress.
    retries: faults forgiven before the trial counts as failed.
    max_hours: wall-clock limit of one start; None: none.
    resources: the slice it needs in a cloud; None: not said.
    overrides: what distinguishes it from the base config, for people.
  """

  trial_id: str
  module: str
  argv: tuple[str, ...]
  workdir: str
  seed: int
  tokens: int
  dataset: str
  flops: float
  retries: int
  max_hours: float | None
  resources: Resources | None
  overrides: dict[str, Any]

  def arguments(self, root: os.PathLike | str) -> list[str]:
    """Arguments after `python -m module` of the run under the sweep directory `root`."""
    return [*self.argv, f"--workdir={pathlib.Path(root) / self.workdir}"]


def expand(
  config_file: str,
  variant: str,
  base: Mapping[str, Any],
  module: str,
  points: Sequence[Mapping[str, Any]] | None = None,
  resources: Resources | None = None,
) -> list[Trial]:
  """The trials of `config_file`'s sweep(variant), in its order; the same file gives the same trials.

  Args:
    base: overrides that every trial shares.
    module: the program a trial runs.
    points: take the place of what sweep(variant) would return.
    resources: of the trials whose point does not name its own.

  Raises BadInput for a file without sweep(), an unknown key, a value of the wrong type, two equal trials, a key
  that `base` and a point of the sweep want to have different values.
  """
  where = f"{config_file}:{variant}" if variant else config_file
  space = runpy.run_path(config_file)
  arguments = [variant] if variant else []
  if points is None:
    if "sweep" not in space:
      remedy = "add a function that returns the list of overrides, or give --points=FILE.json"
      raise BadInput("has no sweep(variant)", config_file, remedy)
    points = space["sweep"](*arguments)
  trials: list[Trial] = []
  for number, point in enumerate(points):
    own, about = divide(point, f"{where} sweep point {number}")
    for key in base.keys() & own.keys():
      if base[key] != own[key]:
        what = f"sets every trial to {base[key]!r}, but sweep point {number} to {own[key]!r}"
        remedy = f"leave the flag out, or change sweep() in {config_file}"
        raise BadInput(what, f"--config.{key}", remedy)
    overrides = {**base, **own}
    config = space["get_config"](*arguments)
    for key, value in overrides.items():
      _set(config, key, value, f"{where} sweep point {number}")
    resolved = config.to_dict()
    trial_id = hashlib.sha256(canonical_json([module, identity(resolved)]).encode()).hexdigest()[:12]
    trials.append(
      Trial(
        trial_id=trial_id,
        module=module,
        argv=(f"--config={where}", *(f"--config.{key}={_text(value)}" for key, value in overrides.items())),
        workdir=f"runs/{trial_id}",
        seed=int(_get(resolved, "seed", where)),
        tokens=int(_get(resolved, "tokens", where)),
        dataset=str(_get(resolved, "data.dataset", where)),
        overrides=own,
        **{**vars(about), "resources": about.resources or resources},
      )
    )
  seen: dict[str, int] = {}
  for number, trial in enumerate(trials):
    if trial.trial_id in seen:
      what = f"sweep points {seen[trial.trial_id]} and {number} are the same run (keys such as the mesh do not count)"
      raise BadInput(what, where, "give them different seeds, or drop one")
    seen[trial.trial_id] = number
  if not trials:
    raise BadInput("sweep() is empty", where, "return at least one point")
  return trials


def _set(config: Any, dotted: str, value: Any, where: str) -> None:
  """Sets a key of a nested ConfigDict that must exist and have the type of `value`."""
  *parents, name = dotted.split(".")
  at = config
  for part in [*parents, name]:
    known = list(at.keys()) if hasattr(at, "keys") else []
    if part not in known:
      near = difflib.get_close_matches(part, known, 1)
      remedy = f"did you mean {near[0]!r}?" if near else "take a key of get_config()"
      raise BadInput(f"unknown config key {dotted!r}", where, remedy)
    parent, at = at, at[part]
  try:
    parent[name] = value
  except (TypeError, ValueError) as error:
    raise BadInput(f"{dotted} = {value!r} does not fit ({error})", where, "correct its type") from None


def _get(resolved: Mapping[str, Any], dotted: str, where: str) -> Any:
  at: Any = resolved
  for part in dotted.split("."):
    if not isinstance(at, Mapping) or part not in at:
      raise BadInput(f"has no key {dotted!r}", where, "set it in get_config()")
    at = at[part]
  return at


def _text(value: Any) -> str:
  """A value as a flag: what ml_collections reads back as the same value."""
  if isinstance(value, bool):
    return "true" if value else "false"
  return repr(value) if isinstance(value, float) else str(value)


def write_trials(path: os.PathLike | str, trials: list[Trial]) -> None:
  """One canonical JSON object per line; the same trials give the same bytes."""
  write_text_atomic(path, "".join(canonical_json(dataclasses.asdict(t)) + "\n" for t in trials))


def read_trials(path: os.PathLike | str) -> list[Trial]:
  """The inverse of `write_trials`; a damaged line raises BadInput."""
  trials = []
  for number, line in enumerate(pathlib.Path(path).read_text(encoding="utf-8").splitlines(), 1):
    try:
      values = json.loads(line)
      slice_ = values["resources"] and read_resources(values["resources"], f"{path} line {number}")
      trials.append(Trial(**{**values, "argv": tuple(values["argv"]), "resources": slice_}))
    except (ValueError, TypeError, KeyError) as error:
      remedy = "delete the file: the sweep writes it again"
      raise BadInput(f"is no trial ({error})", f"{path} line {number}", remedy) from None
  return trials
