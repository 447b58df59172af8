"""Which model version runs on which vehicle: artifacts, vehicles, and why the one does not fit the other.

An artifact is one target of an export (its manifest says files, digests and inputs) with what it was released for:
platforms, rigs, regions. Everything is refused by name, and before anything travels.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from data.errors import BadInput

_DIGEST = re.compile(r"[0-9a-f]{64}")
Inputs = Mapping[str, tuple[str, tuple[int, ...]]]  # {name: (dtype, shape)}


@dataclasses.dataclass(frozen=True)
class Vehicle:
  name: str
  platform: str
  rig: str
  region: str


@dataclasses.dataclass(frozen=True)
class Artifact:
  """files: {path below the export: SHA-256}."""

  version: int
  target: str
  inputs: Inputs
  files: Mapping[str, str]
  size: int  # bytes
  platforms: frozenset[str]
  rigs: frozenset[str]
  regions: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Platform:
  targets: frozenset[str]  # of export/targets.py that its runtime reads
  storage: int  # bytes for one artifact


@dataclasses.dataclass(frozen=True)
class Registry:
  """platforms: by name. rigs: what each puts before a model. artifacts: what was released, oldest first."""

  platforms: Mapping[str, Platform]
  rigs: Mapping[str, Inputs]
  artifacts: tuple[Artifact, ...] = ()


def from_manifest(
  manifest: Mapping[str, Any],
  target: str,
  version: int,
  platforms: frozenset[str],
  rigs: frozenset[str],
  regions: frozenset[str],
) -> Artifact:
  """One target of an export's manifest.json, for these vehicles; BadInput for a target that is none or failed."""
  targets = manifest["targets"]
  if target not in targets:
    raise BadInput(f"has no target {target!r}", "manifest.json", f"choose from {', '.join(sorted(targets))}")
  if "failed" in targets[target]:
    raise BadInput(f"{target} failed: {targets[target]['failed']}", "manifest.json", "export it again")
  files = {name: own["sha256"] for name, own in targets[target].get("files", {}).items()}
  wrong = [name for name, digest in files.items() if not _DIGEST.fullmatch(digest)]
  if not files or wrong:
    what = f"{target} has {f'no digest of {wrong[0]}' if wrong else 'no files'}"
    raise BadInput(what, "manifest.json", "export it again")
  inputs = {name: (kind, tuple(shape)) for name, (kind, shape) in manifest["inputs"].items()}
  size = sum(own["bytes"] for own in targets[target]["files"].values())
  return Artifact(version, target, inputs, files, size, platforms, rigs, regions)


def publish(registry: Registry, artifact: Artifact) -> Registry:
  """The registry with one more artifact.

  Raises BadInput for an artifact that nobody is meant to have, that a platform or rig it names cannot run, and for a
  version that is not newer than what the same vehicles were released before.
  """
  where = f"version {artifact.version} of {artifact.target}"
  for kind in ("platforms", "rigs", "regions"):
    if not getattr(artifact, kind):
      raise BadInput(f"names no {kind}", where, "say which vehicles it is for")
  for kind, known in (("platforms", registry.platforms), ("rigs", registry.rigs)):
    for name in sorted(getattr(artifact, kind) - known.keys()):
      raise BadInput(f"names {name!r}, which is none of the {kind}", where, f"choose from {', '.join(known)}")
  for name in sorted(artifact.platforms):
    if lacks := _unfit(registry, artifact, name):
      raise BadInput(lacks, where, "leave that platform out, or export another target")
  for name in sorted(artifact.rigs):
    if lacks := _blind(registry, artifact, name):
      raise BadInput(lacks, where, "leave that rig out, or train for it")
  for older in registry.artifacts:
    same = all(getattr(older, kind) & getattr(artifact, kind) for kind in ("platforms", "rigs", "regions"))
    if same and older.version >= artifact.version:
      what = f"is not newer than version {older.version}, released for some of the same vehicles"
      raise BadInput(what, where, f"number it {older.version + 1} or more")
  return dataclasses.replace(registry, artifacts=(*registry.artifacts, artifact))


def _unfit(registry: Registry, artifact: Artifact, platform: str) -> str:
  """Why a platform cannot run it; "": it can."""
  own = registry.platforms[platform]
  if artifact.target not in own.targets:
    return f"{platform} reads {', '.join(sorted(own.targets))}, not {artifact.target}"
  if artifact.size > own.storage:
    return f"{platform} stores {own.storage} bytes, it has {artifact.size}"
  return ""


def _blind(registry: Registry, artifact: Artifact, rig: str) -> str:
  """Which input a rig does not give as the model wants it; "": none."""
  given = registry.rigs[rig]
  for name, wanted in artifact.inputs.items():
    if name not in given:
      return f"rig {rig} gives no {name}"
    if given[name] != wanted:
      return f"rig {rig} gives {name} as {given[name]}, the model takes {wanted}"
  return ""


def misfits(registry: Registry, artifact: Artifact, vehicle: Vehicle) -> list[str]:
  """Why an artifact is not for a vehicle; []: it is. Raises BadInput for a vehicle of unknown platform or rig."""
  for kind, name, known in (
    ("platform", vehicle.platform, registry.platforms),
    ("rig", vehicle.rig, registry.rigs),
  ):
    if name not in known:
      raise BadInput(
        f"is of {kind} {name!r}, which is unknown", vehicle.name, f"choose from {', '.join(known)}"
      )
  found = []
  for name, meant in (
    (vehicle.platform, artifact.platforms),
    (vehicle.rig, artifact.rigs),
    (vehicle.region, artifact.regions),
  ):
    if name not in meant:
      found.append(f"is for {', '.join(sorted(meant))}, not {name}")
  return found + [
    reason
    for reason in (_unfit(registry, artifact, vehicle.platform), _blind(registry, artifact, vehicle.rig))
    if reason
  ]


def newest(registry: Registry, vehicle: Vehicle) -> Artifact:
  """The newest artifact that is for a vehicle; BadInput that says why each is not."""
  against = []
  for artifact in sorted(registry.artifacts, key=lambda one: -one.version):
    reasons = misfits(registry, artifact, vehicle)
    if not reasons:
      return artifact
    against.append(f"version {artifact.version} of {artifact.target} {' and '.join(reasons)}")
  what = "; ".join(against) or "nothing was released"
  raise BadInput(f"no version fits: {what}", vehicle.name, "release one for its platform, rig and region")
