"""manifest.json: what an export is, file by file with digests, and whether a directory still is what it says."""

import os
import pathlib
from typing import Any

import numpy as np

from data.errors import BadInput
from data.files import read_json, sha256
from export import signature, tensors
from export.calibration import fingerprint
from export.interpreter import named_leaves
from export.targets import TARGETS
from export.tensors import LARGEST, REMEDY

NAME = "manifest.json"
FORMAT_VERSION = 2


def files_of(directory: pathlib.Path, root: pathlib.Path) -> dict[str, dict[str, Any]]:
  """{path below root: {"bytes", "sha256"}} of every file in a directory, in order."""
  return {
    str(path.relative_to(root)): {"bytes": path.stat().st_size, "sha256": sha256(path)}
    for path in sorted(directory.rglob("*"))
    if path.is_file()
  }


def weights_fingerprint(weights: Any) -> str:
  """SHA-256 of a pytree of weights: paths, shapes and numbers."""
  return fingerprint([{path: np.asarray(leaf) for path, leaf in named_leaves(weights).items()}])


def require_source(found: dict[str, Any], run) -> None:
  """Raises BadInput for a run of another configuration than the one that was exported."""
  if run.row["config_hash"] != found["config_hash"]:
    raise BadInput("is not the run that was exported", run.path, f"give {found['source_run']}")


def read(artifact: os.PathLike | str) -> dict[str, Any]:
  """The manifest of an export whose files are all as it says.

  Raises BadInput for a directory that is none, for links, for files that are missing, larger than any export, changed
  or not listed, for names that lead out of the directory, and for ONNX files whose tensors are kept elsewhere.
  """
  root = pathlib.Path(artifact)
  if not root.is_dir():
    raise BadInput("no such directory", root, "give the --out of export.build")
  found = read_json(root / NAME, REMEDY)
  if not isinstance(found, dict) or found.get("format_version") != FORMAT_VERSION:
    what = (
      f"is of format {dict(found).get('format_version')}" if isinstance(found, dict) else "is no manifest"
    )
    raise BadInput(f"{what}, this version reads {FORMAT_VERSION}", root / NAME, REMEDY)
  listed: dict[str, dict[str, Any]] = {}
  for name, target in _object(root, found.get("targets"), "targets").items():
    if name not in TARGETS:
      raise BadInput(f"names {name!r}, which is no target", root / NAME, REMEDY)
    if "failed" not in _object(root, target, name):
      listed |= _object(root, target.get("files"), f"the files of {name}")
  for path in sorted(root.rglob("*")):
    if path.is_symlink():
      raise BadInput("is a link", path, "an export holds files alone: copy it whole")
    if not path.is_dir() and str(path.relative_to(root)) not in {NAME, signature.NAME, *listed}:
      raise BadInput("is not listed in the manifest", path, f"remove it, or {REMEDY}")
  for name, own in listed.items():
    _check(root, name, own)
  for name in listed:
    if name.endswith(".onnx"):
      tensors.check(root / name)
  return found


def _object(root: pathlib.Path, value: Any, what: str) -> dict[str, Any]:
  if not isinstance(value, dict):
    raise BadInput(f"does not tell {what}", root / NAME, REMEDY)
  return value


def _check(root: pathlib.Path, name: str, own: Any) -> None:
  path = root / name
  if not path.resolve().is_relative_to(root.resolve()):
    raise BadInput(f"names {name}, which is outside", root / NAME, REMEDY)
  if not path.is_file():
    raise BadInput("is missing", path, REMEDY)
  size = path.stat().st_size
  own = _object(root, own, f"how large {name} is")
  if size > LARGEST:
    raise BadInput(f"holds {size} bytes, more than {LARGEST}", path, REMEDY)
  if size != own.get("bytes") or sha256(path) != own.get("sha256"):
    raise BadInput("has changed since it was exported", path, REMEDY)
