"""A sweep as files for a cloud: rendered from the trials, checked here, and started by nobody yet."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import yaml

from data.errors import BadInput
from data.files import require_directory, write_text_atomic
from scaling.sweeps import jobset, skypilot, tpu_names
from scaling.sweeps.local import write_trials
from scaling.sweeps.schema_check import check
from scaling.sweeps.trials import Trial

SCHEMAS = {"skypilot": skypilot.SCHEMA, "jobset": jobset.SCHEMA}
NOTES = {
  "skypilot": "",
  "jobset": "JobSet 0.10 or newer tells evictions from faults; a machine that vanishes without warning, so that the "
  "others abort first, counts as a fault against trial.retries.\n",
}
START = {"skypilot": "sky jobs launch --yes FILE", "jobset": "kubectl create --filename FILE"}


class _Dumper(yaml.SafeDumper):
  """Shows texts of several lines as they are."""


_Dumper.add_representer(
  str,
  lambda dumper, text: dumper.represent_scalar(
    "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
  ),
)


@dataclasses.dataclass(frozen=True)
class Asked:
  """What a cloud needs besides the trials; "" where it was not said."""

  bucket: str
  image: str
  queue: str


def render(engine: str, trials: Sequence[Trial], workdir: os.PathLike | str, asked: Asked) -> str:
  """Writes W/trials.jsonl and W/<engine>/<trial>.yaml; returns what to tell the user.

  Raises BadInput, before anything is written, for a trial without resources, a slice that does not exist, a flag that
  is missing, a file that is not what the strict schema says.
  """
  root = require_directory(workdir, "--workdir")
  texts = {trial.trial_id: _text(engine, trial, asked) for trial in trials}
  root.mkdir(parents=True, exist_ok=True)
  write_trials(root / "trials.jsonl", list(trials))
  for trial_id, text in texts.items():
    write_text_atomic(root / engine / f"{trial_id}.yaml", text)
  for path in (root / engine).glob("*.yaml"):
    if path.stem not in texts:
      path.unlink()  # of a trial that the sweep no longer has
  return (
    f"{len(texts)} files in {root / engine}, checked against the keys that {engine} knows.\n"
    f"Nothing was started, and nothing of this has been run on a cloud. To start one: {START[engine]}\n"
    f"{NOTES[engine]}"
    f"Datasets must be where config.data.dataset says, such as below {skypilot.MOUNT}/, the mounted bucket. When "
    f"results are back under {root / 'runs'}, the same command with --engine=serial makes the table."
  )


def read(engine: str, path: os.PathLike | str) -> dict[str, Any]:
  """A rendered file, checked; raises BadInput when it is no YAML or holds what the engine does not know."""
  return _checked(engine, pathlib.Path(path).read_text(encoding="utf-8"), path)


def _text(engine: str, trial: Trial, asked: Asked) -> str:
  where = f"trial {trial.trial_id}"
  config = trial.argv[0].removeprefix("--config=")
  if pathlib.Path(config).is_absolute() or ".." in pathlib.Path(config).parts:
    raise BadInput(
      "lies outside the repository, which is all that a cloud gets", config, "put the file into it"
    )
  if trial.resources is None:
    raise BadInput("names no resources", where, "give trial.resources in its point, or --resources for all")
  slice_ = tpu_names.name(trial.resources, where)
  bucket = _flag("bucket", asked.bucket, r"[a-z0-9][-a-z0-9_.]{1,61}[a-z0-9]")
  if engine == "skypilot":
    document = skypilot.render(trial, slice_, bucket)
  else:
    image = _flag("image", asked.image, r"[\w.:/@-]+")
    document = jobset.render(trial, slice_, bucket, image, _flag("queue", asked.queue, r"[a-z0-9][-a-z0-9]*"))
  text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=4096)
  assert _checked(engine, text, where) == document
  return text


def _checked(engine: str, text: str, where: object) -> dict[str, Any]:
  try:
    document = yaml.safe_load(text)
  except yaml.YAMLError as error:
    raise BadInput(f"is no YAML ({' '.join(str(error).split())})", where, "render it again") from None
  check(document, SCHEMAS[engine], where)
  return document


def _flag(name: str, value: str, pattern: str) -> str:
  if not re.fullmatch(pattern, value):
    what = f"is {value!r}" if value else "is missing"
    raise BadInput(what, f"--{name}", f"give --{name} as the cloud knows it")
  return value
