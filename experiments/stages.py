"""A chain of programs: each stage is one command, skipped when what it would make is already there.

A stage is valid when its stamp (STAMPS/<name>.json, written last) carries the fingerprint of its command and
of the content of its inputs, and its outputs still have the content they had when it finished. Presence alone
proves nothing. An interrupted stage has no stamp: its program is called again and resumes by its own rules.
When the inputs changed, all that the stage made is removed first; when only outputs were altered, these are.
The code is not part of the fingerprint: after changing it, start in an empty directory.
"""

import dataclasses
import hashlib
import pathlib
import shutil
import subprocess
import sys
import time

from data.errors import BadInput
from data.files import canonical_json, read_json, sha256, write_json_atomic


class StageFailed(Exception):
  """A stage's program ended with another exit code than 0.

  Attributes:
    code: that exit code; the chain ends with it too.
  """

  def __init__(self, stage: str, code: int, command: str):
    super().__init__(f"stage {stage!r} ended with exit code {code}: {command}")
    self.code = code


@dataclasses.dataclass(frozen=True)
class Stage:
  """One command of the chain.

  Attributes:
    name: file name of its stamp; also what is printed.
    title: what it does, for people.
    argv: module and flags, as in `python -m argv[0] argv[1:]`.
    inputs: files and directories whose content decides what comes out.
    outputs: files and directories that must come out as they are to stay.
    directory: where the command leaves everything it makes; its own, outputs lie in it or are it.
  """

  name: str
  title: str
  argv: tuple[str, ...]
  inputs: tuple[pathlib.Path, ...]
  outputs: tuple[pathlib.Path, ...]
  directory: pathlib.Path

  def fingerprint(self) -> str:
    """SHA-256 over the command and the content of the inputs."""
    return _sha256_text(canonical_json([list(self.argv), [digest(path) for path in self.inputs]]))

  def command(self) -> str:
    return " ".join(("python -m", *self.argv))


def digest(path: pathlib.Path) -> str:
  """SHA-256 of a file, or of the names and digests of all files below a directory; "" when absent."""
  if path.is_dir():
    names = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
    return _sha256_text(canonical_json({name: sha256(path / name) for name in names}))
  return sha256(path) if path.is_file() else ""


def seconds_of(stage: Stage, stamps: pathlib.Path) -> float:
  """How long the stage took, over all its attempts."""
  return float(read_json(stamps / f"{stage.name}.json", "run the chain again")["seconds"])


def is_valid(stage: Stage, stamps: pathlib.Path) -> bool:
  """Whether the stage's stamp, inputs and outputs agree."""
  stamp = _read(stamps / f"{stage.name}.json")
  return (
    bool(stamp)
    and stamp["fingerprint"] == stage.fingerprint()
    and all(stamp["outputs"].get(str(path)) == digest(path) != "" for path in stage.outputs)
  )


def run(stage: Stage, stamps: pathlib.Path) -> bool:
  """Makes the stage valid. Returns False when it already was and nothing was run.

  Raises StageFailed when its program fails (the program has printed why), BadInput when it ends well
  without its outputs.
  """
  if is_valid(stage, stamps):
    return False
  stamp, attempts = stamps / f"{stage.name}.json", stamps / f"{stage.name}.unfinished.json"
  fingerprint, spent = stage.fingerprint(), 0.0
  for before in map(_read, (stamp, attempts)):
    if before and before["fingerprint"] != fingerprint:
      _remove(stage.directory)
    elif before:
      spent = float(before["seconds"])
  if stamp.exists():
    for path in stage.outputs:
      _remove(path)
    stamp.unlink()
  write_json_atomic(attempts, {"fingerprint": fingerprint, "seconds": spent})
  start = time.monotonic()
  try:
    code = _call(stage.argv)
  finally:
    spent += time.monotonic() - start
    write_json_atomic(attempts, {"fingerprint": fingerprint, "seconds": spent})
  if code:
    raise StageFailed(stage.name, code, stage.command())
  for path in stage.outputs:
    if not path.exists():
      raise BadInput(f"stage {stage.name!r} did not make it", path, "run its command: " + stage.command())
  outputs = {str(path): digest(path) for path in stage.outputs}
  write_json_atomic(
    stamp, {"fingerprint": fingerprint, "outputs": outputs, "seconds": spent, "command": stage.command()}
  )
  attempts.unlink()
  return True


def _call(argv: tuple[str, ...]) -> int:
  """Exit code of the program; an interrupted chain asks it to stop and gives it time to save."""
  with subprocess.Popen([sys.executable, "-m", *argv]) as process:
    try:
      return process.wait()
    except BaseException:
      process.terminate()
      try:
        process.wait(60)
      except subprocess.TimeoutExpired:
        process.kill()
      raise


def _read(record: pathlib.Path) -> dict:
  return read_json(record, "delete it and run again") if record.exists() else {}


def _remove(path: pathlib.Path) -> None:
  if path.is_dir():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)


def _sha256_text(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()
