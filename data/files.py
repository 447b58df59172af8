"""Files that are either whole or absent: atomic JSON, SHA-256 digests, where they may go, free space."""

import hashlib
import json
import os
import pathlib
import shutil

from data.errors import BadInput


def canonical_json(value: object) -> str:
  """JSON with sorted keys and no spaces; NaN and infinity raise ValueError."""
  return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_text_atomic(path: os.PathLike | str, text: str) -> None:
  """Writes `text` so that a reader sees the old file or the whole new one, also after a crash."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}")
  try:
    with open(temporary, "w", encoding="utf-8") as file:
      file.write(text)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
  directory = os.open(path.parent, os.O_RDONLY)
  try:
    os.fsync(directory)  # the rename itself must survive a power cut
  finally:
    os.close(directory)


def write_json_atomic(path: os.PathLike | str, value: object) -> None:
  """Serialises first, so that a NaN raises ValueError before any file exists."""
  write_text_atomic(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: os.PathLike | str, remedy: str) -> dict:
  """Reads a JSON object; an absent or damaged file raises BadInput with `remedy`."""
  try:
    value = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  except FileNotFoundError:
    raise BadInput("no such file", path, remedy) from None
  except (OSError, ValueError) as error:
    raise BadInput(f"not readable as JSON ({error})", path, remedy) from None
  if not isinstance(value, dict):
    raise BadInput(f"holds a {type(value).__name__}, not an object", path, remedy)
  return value


def sha256(path: os.PathLike | str) -> str:
  """Hex digest of a file, read in chunks."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def require_directory(path: os.PathLike | str, flag: str) -> pathlib.Path:
  """`path` as a place for results, made or not; asked before long work, so that its result has somewhere to go.

  Raises BadInput that names `flag` when it is a file, lies in one, or cannot be written to.
  """
  path = pathlib.Path(path)
  nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
  if not nearest.is_dir():
    raise BadInput("is a file", nearest, f"give a directory as {flag}")
  if not os.access(nearest, os.W_OK | os.X_OK):
    raise BadInput("cannot be written to", nearest, f"give another directory as {flag}")
  return path


def require_free_space(directory: os.PathLike | str, needed_bytes: int) -> None:
  """Raises BadInput when the file system of `directory` (or its nearest parent) has less left."""
  place = pathlib.Path(directory).absolute()
  while not place.exists():
    place = place.parent
  free = shutil.disk_usage(place).free
  if free < needed_bytes:
    raise BadInput(
      f"{free / 2**20:.0f} MiB free, {needed_bytes / 2**20:.0f} MiB needed",
      place,
      "free some space or choose another directory",
    )
