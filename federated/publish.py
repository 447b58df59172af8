"""A release for a fleet: python -m federated.publish --export=DIR --target=onnx_int8 --version=3 --fleet=FLEET.toml
--platforms=small --rigs=pair --regions=fi --depot=DIR --keys=DIR.

One target of an export is checked against the platforms and rigs of FLEET.toml and against what was released before
(federated/registry.py); only then its files are copied to the depot and signed (federated/updates.py). The first
release makes the keys and the depot; afterwards the keys of root and targets belong offline. DEPOT/releases.json lists
what was released, for this program; vehicles trust the signed metadata alone, from DEPOT/metadata/1.root.json on.

FLEET.toml:

  [platforms.small]
  targets = ["onnx_int8"]
  storage = 100_000_000                          # bytes for one artifact
  [rigs.pair]
  images = ["uint8", [1, 4, 2, 32, 32, 3]]       # what it puts before a model, as in an export's manifest.json
  [roles]
  root = {keys = 3, threshold = 2, days = 365}   # and targets, snapshot, timestamp
"""

import dataclasses
import pathlib
from typing import Any

from absl import flags

from experiments import program

_EXPORT = flags.DEFINE_string("export", None, "Export to release from.", required=True)
_TARGET = flags.DEFINE_string("target", None, "Which of its targets.", required=True)
_VERSION = flags.DEFINE_integer("version", None, "Number of the release.", lower_bound=1, required=True)
_FLEET = flags.DEFINE_string("fleet", None, "FLEET.toml.", required=True)
_PLATFORMS = flags.DEFINE_list("platforms", None, "Platforms that it is for.", required=True)
_RIGS = flags.DEFINE_list("rigs", None, "Rigs that it is for.", required=True)
_REGIONS = flags.DEFINE_list("regions", None, "Regions that it is for.", required=True)
_DEPOT = flags.DEFINE_string(
  "depot", None, "Directory of the depot; made by the first release.", required=True
)
_KEYS = flags.DEFINE_string("keys", None, "Directory of the keys; made by the first release.", required=True)


def main() -> int:
  artifact = publish(
    pathlib.Path(_EXPORT.value),
    _TARGET.value,
    _VERSION.value,
    read_fleet(pathlib.Path(_FLEET.value)),
    {"platforms": _PLATFORMS.value, "rigs": _RIGS.value, "regions": _REGIONS.value},
    pathlib.Path(_DEPOT.value),
    pathlib.Path(_KEYS.value),
  )
  print(
    f"released version {artifact.version} of {artifact.target}, {artifact.size / 1e6:.1f} MB, for"
    f" {', '.join(sorted(artifact.platforms))} with {', '.join(sorted(artifact.rigs))} in"
    f" {', '.join(sorted(artifact.regions))}"
  )
  print(pathlib.Path(_DEPOT.value) / "metadata")
  return 0


def read_fleet(path: pathlib.Path) -> tuple[Any, dict[str, Any]]:
  """(registry without artifacts, roles); raises BadInput for a file that is none."""
  import tomllib

  from data.errors import BadInput
  from federated.registry import Platform, Registry
  from federated.updates import Role

  try:
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    platforms = {
      name: Platform(frozenset(own["targets"]), int(own["storage"]))
      for name, own in values["platforms"].items()
    }
    rigs = {
      name: {field: (kind, tuple(shape)) for field, (kind, shape) in own.items()}
      for name, own in values["rigs"].items()
    }
    return Registry(platforms, rigs), {name: Role(**own) for name, own in values["roles"].items()}
  except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError, ValueError, KeyError) as error:
    raise BadInput(f"is no description of a fleet ({error!r})", path, "see federated/publish.py") from None


def publish(
  export: pathlib.Path,
  target: str,
  version: int,
  fleet: tuple[Any, dict[str, Any]],
  meant: dict[str, list[str]],
  depot: pathlib.Path,
  keys: pathlib.Path,
) -> Any:
  """The artifact that was released; raises BadInput, before anything is signed, for one that must not be."""
  from data.files import read_json, write_json_atomic
  from federated import registry, updates

  known, roles = fleet
  releases = depot / "releases.json"
  told = read_json(releases, "restore it")["releases"] if releases.exists() else []
  known = dataclasses.replace(known, artifacts=tuple(map(_artifact, told)))
  manifest = read_json(export / "manifest.json", "give the --out directory of export.build")
  artifact = registry.from_manifest(
    manifest, target, version, **{kind: frozenset(names) for kind, names in meant.items()}
  )
  after = registry.publish(known, artifact)
  begins = not (depot / "metadata").exists()
  if begins:
    updates.make_keys(keys, roles)
  shelf = updates.Depot(depot, keys, roles)
  if begins:
    shelf.start()
  shelf.publish(export, artifact)
  write_json_atomic(releases, {"releases": [_told(one) for one in after.artifacts]})
  return artifact


def _told(artifact: Any) -> dict[str, Any]:
  return {
    name: sorted(value) if isinstance(value, frozenset) else value
    for name, value in dataclasses.asdict(artifact).items()
  }


def _artifact(told: dict[str, Any]) -> Any:
  from federated.registry import Artifact

  inputs = {name: (kind, tuple(shape)) for name, (kind, shape) in told["inputs"].items()}
  kinds = {name: frozenset(told[name]) for name in ("platforms", "rigs", "regions")}
  return Artifact(**(told | {"inputs": inputs} | kinds))


if __name__ == "__main__":
  program.run(main)
