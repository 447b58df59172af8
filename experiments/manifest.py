"""The manifest of a checkpoint: which arrays it holds, and the size and SHA-256 of every file.

  {"step", "meta", "arrays": {path: "float32[2, 3]"}, "files": {name: [bytes, sha256]}, "digest"}

The digest is the manifest's own, so that a change in it shows as well.
"""

import hashlib
import json
import pathlib
from typing import Any

import jax

from data.errors import BadInput
from data.files import canonical_json, sha256


def read_manifest(path: pathlib.Path) -> dict:
  """A manifest whose own digest matches; raises ValueError or OSError otherwise."""
  manifest = json.loads(path.read_bytes())
  if not isinstance(manifest, dict) or manifest.get("digest") != seal(manifest):
    raise ValueError("the manifest does not match its own digest")
  return manifest


def seal(manifest: dict) -> str:
  """SHA-256 of everything in a manifest but its digest."""
  rest = {key: value for key, value in manifest.items() if key != "digest"}
  return hashlib.sha256(canonical_json(rest).encode()).hexdigest()


def digests(step_directory: pathlib.Path) -> dict[str, list]:
  """{relative name: [bytes, sha256]} of every file; a link counts as a file that no manifest can hold."""
  return {
    str(path.relative_to(step_directory)): ["link"]
    if path.is_symlink()
    else [path.stat().st_size, sha256(path)]
    for path in sorted(step_directory.rglob("*"))
    if path.is_symlink() or not path.is_dir()
  }


def fault(manifest_path: pathlib.Path, step_directory: pathlib.Path) -> str | None:
  """What is wrong with a step, or None when every file is as the manifest says."""
  try:
    manifest = read_manifest(manifest_path)
    if str(manifest["step"]) != step_directory.name:
      return f"the manifest is for step {manifest['step']}"
    wanted, found = manifest["files"], digests(step_directory)
  except (OSError, ValueError, KeyError) as error:
    return str(error)
  wrong = [name for name in sorted(wanted | found) if wanted.get(name) != found.get(name)]
  return f"{len(wrong)} files differ from the manifest, the first is {wrong[0]}" if wrong else None


def arrays(state: Any) -> dict[str, str]:
  """{path of the leaf: "float32[2, 3]"}."""
  leaves = jax.tree_util.tree_leaves_with_path(state)
  return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def require_same_arrays(wanted: dict, found: dict, where: pathlib.Path) -> None:
  """Orbax would cast, cut or pad to fit; a state of another program is refused instead."""
  for name in sorted(wanted | found):
    if wanted.get(name) != found.get(name):
      what = f"{name} is {found.get(name, 'absent')} there, the program expects {wanted.get(name, 'nothing')}"
      raise BadInput(what, where, "use the code and config that wrote the checkpoint")
