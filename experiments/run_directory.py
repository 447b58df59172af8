"""The directory of one run: whose it is, what happened in it, and what came out.

config.json       the resolved config of the first start; the directory belongs to its identity for ever
provenance.json   dataset, revision, packages, devices, argv of the first start; under "restarts" of the others
start.json        the run whose weights this one began with, if any, and which were carried over
attempts.jsonl    one record per start and per orderly end; a killed attempt has no end
metrics.jsonl     one record per logged step, in step order; tb/ the same for TensorBoard, when asked for
checkpoints/, manifests/, quarantine/    see experiments/checkpoints.py
result.json       the row of the run table, written last: it exists exactly when the run is done
lock              held (flock) by the process that writes here
"""

import contextlib
import fcntl
import json
import math
import os
import pathlib
import socket
import sys
import time
from typing import Any, Self

from data.errors import BadInput
from data.files import canonical_json, read_json, require_free_space, write_json_atomic, write_text_atomic
from experiments import provenance
from experiments.identity import config_hash, identity, operational
from experiments.program import exit_code

_LOCK_TRIES = 10
_SPARE_BYTES = 32 * 2**20  # for metrics and JSON; checkpoints ask for their own space


class RunDirectory:
  """An opened run. Use as a context manager: the lock and the record of the attempt end with the block.

  Attributes:
    path: the directory.
    config: the resolved config of this start, as it reads back from JSON.
    hash: config_hash(config), the same for every start.
    writer: False in all but the first process of a run; methods that write then do nothing.
  """

  def __init__(self, path: pathlib.Path, config: dict, writer: bool):
    self.path, self.config, self.writer = path, config, writer
    self.hash = config_hash(config)
    self._lock: Any = None

  @classmethod
  def open(cls, path: os.PathLike | str, config: dict, writer: bool = True) -> Self:
    """Creates the directory or resumes it.

    The config may differ from the one it was created with in operational keys only (experiments/identity.py).

    Raises BadInput when another process holds it, when it belongs to another run or to something else than a
    run, when the config is not JSON, or when the disk is full. In each case nothing is changed.
    """
    path = pathlib.Path(path)
    try:
      config = json.loads(canonical_json(config))
    except (TypeError, ValueError) as error:
      raise BadInput(
        f"cannot be written as JSON ({error})", "config", "use finite numbers and text"
      ) from None
    run = cls(path, config, writer)
    if not writer:
      return run
    if path.exists() and not path.is_dir():
      raise BadInput("is a file", path, "give a directory as --workdir")
    require_free_space(path, _SPARE_BYTES)
    _refuse_foreign(path)
    try:
      path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise BadInput(f"cannot be created ({error.strerror})", path, "choose another --workdir") from None
    run._lock = _take_lock(path)
    try:
      _refuse_other_config(path, config)
      if not (path / "config.json").exists():
        write_json_atomic(path / "config.json", config)
      for name in ("metrics.jsonl", "attempts.jsonl"):
        _drop_partial_line(path / name)
      run._record_attempt(event="start", argv=sys.argv, git_revision=provenance.git_revision())
    except BaseException:
      run._lock.close()
      raise
    return run

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, error, trace) -> None:
    if not self.writer:
      return
    try:
      self._record_attempt(event="end", exit_code=exit_code(error))
    finally:
      self._lock.close()

  def write_provenance(self, seed: int, devices: list[str], dataset_fingerprint: str) -> None:
    """Adds this start to provenance.json: its machine, command, devices and operational keys (the mesh ...).

    Raises BadInput when the dataset is not the one that the run began with.
    """
    if not self.writer:
      return
    path = self.path / "provenance.json"
    start = provenance.describe() | {"devices": devices, "operational": operational(self.config)}
    if not path.exists():
      first = {"config": self.config, "config_hash": self.hash, "seed": seed, "restarts": []}
      write_json_atomic(path, first | {"dataset_fingerprint": dataset_fingerprint} | start)
      return
    facts = read_json(path, "restore the file, or choose another --workdir")
    theirs = facts["dataset_fingerprint"]
    if theirs != dataset_fingerprint:
      what = f"began with a dataset of fingerprint {theirs}, the one given has {dataset_fingerprint}"
      raise BadInput(what, self.path, "give the dataset it began with, or choose another --workdir")
    facts["restarts"].append(start)
    write_json_atomic(path, facts)

  def write_start(self, base: str, carried: dict[str, Any]) -> None:
    """start.json: the run whose weights this one begins with, its hash, which were carried over, what pruning kept."""
    if self.writer and not (self.path / "start.json").exists():
      result = read_result(base) or {}
      facts = {"run": str(base), "run_id": result.get("run_id"), "config_hash": result.get("config_hash")}
      write_json_atomic(self.path / "start.json", facts | carried)

  def append_metrics(self, record: dict) -> None:
    """Adds one record; it must hold "step". NaN and infinity raise ValueError before any write."""
    for name, value in record.items():
      if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"metric {name} is {value} at step {record['step']}")
    if self.writer:
      _append(self.path / "metrics.jsonl", record)

  def read_metrics(self) -> list[dict]:
    """All records in file order; a truncated last line is left out."""
    return read_jsonl(self.path / "metrics.jsonl")

  def supersede(self, step: int) -> None:
    """After restoring `step`: drops, atomically, the records of later steps, which will be made again."""
    if not self.writer:
      return
    records = self.read_metrics()
    kept = [record for record in records if record["step"] <= step]
    if len(kept) < len(records):
      write_text_atomic(self.path / "metrics.jsonl", "".join(canonical_json(r) + "\n" for r in kept))

  def write_result(self, row: dict) -> None:
    """Writes result.json atomically. Call it last: its presence means that the run is done."""
    if self.writer:
      write_json_atomic(self.path / "result.json", row)

  def result(self) -> dict | None:
    """The row of a finished run, or None."""
    return read_result(self.path)

  def _record_attempt(self, **facts) -> None:
    facts |= {"time": provenance.now(), "pid": os.getpid(), "host": socket.gethostname()}
    _append(self.path / "attempts.jsonl", facts)


def read_config(path: os.PathLike | str) -> dict:
  """The resolved config of a run directory, for programs that only read it.

  Where trunks mix, a run from before there was `model.block` took all queries at a time; one from before there were
  `model.heads` and `model.hidden` has all of them; one that followed a teacher did not look at its features.
  """
  config = read_json(pathlib.Path(path) / "config.json", "give the --workdir of a run")
  mixes = "mixing" in config.get("model", {})
  if mixes:
    config["model"].setdefault("block", 0)
  if mixes or config.get("family") == "motion":
    config["model"] = {"heads": 0, "hidden": 0} | config["model"]
  if config.get("objective") == "distillation":
    config["loss"] = {"features": 0.0} | config["loss"]
  return config


def read_result(path: os.PathLike | str) -> dict | None:
  """The row of a finished run, or None."""
  path = pathlib.Path(path) / "result.json"
  return read_json(path, "delete it and run the same command again") if path.exists() else None


def read_jsonl(path: os.PathLike | str) -> list[dict]:
  """Records of a file of one JSON object per line; a last line that was cut off is left out."""
  path = pathlib.Path(path)
  if not path.exists():
    return []
  lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
  records = []
  for number, line in enumerate(lines, 1):
    try:
      records.append(json.loads(line))
    except ValueError:
      raise BadInput(f"line {number} is not JSON", path, "delete the line, or the run") from None
  return records


def _append(path: pathlib.Path, record: dict) -> None:
  """One write of one whole line: a kill leaves the line, or a part without a newline, never a mixture."""
  with open(path, "ab", buffering=0) as file:
    file.write((canonical_json(record) + "\n").encode())


def _drop_partial_line(path: pathlib.Path) -> None:
  if path.exists() and not (content := path.read_bytes()).endswith(b"\n") and content:
    with open(path, "r+b") as file:
      file.truncate(content.rfind(b"\n") + 1)


def _refuse_foreign(path: pathlib.Path) -> None:
  """A directory with files but no config.json is somebody's, unless a kill left just our first files."""
  if not path.exists() or (path / "config.json").exists():
    return
  others = [p.name for p in path.iterdir() if p.name != "lock" and not p.name.startswith(".config.json.")]
  if others:
    raise BadInput(f"holds {sorted(others)[0]!r} but no config.json", path, "choose an empty --workdir")


def _refuse_other_config(path: pathlib.Path, config: dict) -> None:
  if not (path / "config.json").exists():
    return
  first = read_json(path / "config.json", "restore the file, or choose another --workdir")
  theirs, ours = _flatten(identity(first)), _flatten(identity(config))
  keys = [k for k in sorted(theirs | ours) if theirs.get(k, "absent") != ours.get(k, "absent")]
  if keys:
    shown = ", ".join(
      f"{k} is {theirs.get(k, 'absent')} there, {ours.get(k, 'absent')} here" for k in keys[:4]
    )
    more = f", and {len(keys) - 4} more" if len(keys) > 4 else ""
    raise BadInput(f"belongs to another config: {shown}{more}", path, "choose another --workdir")


def _flatten(config: dict, prefix: str = "") -> dict[str, str]:
  flat: dict[str, str] = {}
  for key, value in config.items():
    if isinstance(value, dict):
      flat |= _flatten(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = canonical_json(value)
  return flat


def _take_lock(path: pathlib.Path) -> Any:
  """Locks the directory for this process; the kernel lets go when the process dies, however it dies."""
  file = open(path / "lock", "a+", encoding="utf-8")  # noqa: SIM115 - held until the run ends
  for _ in range(_LOCK_TRIES - 1):  # whoever only asks whether it is held holds it for an instant
    with contextlib.suppress(BlockingIOError):
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      break
    time.sleep(0.02)
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    file.seek(0)
    holder = file.read().strip() or "another process"
    file.close()
    raise BadInput(f"is in use by {holder}", path, "wait for it, or choose another --workdir") from None
  file.truncate(0)
  file.write(f"process {os.getpid()} on {socket.gethostname()} since {provenance.now()}\n")
  file.flush()
  return file
