"""Releases that a vehicle can trust: a repository on a disk, and what a vehicle takes of it, checked by python-tuf.

Root (offline, several keys) says who signs what; targets (offline) says which files a release is, with digests and
which vehicles it is for; snapshot and timestamp (online) say which of all that is current, and for how long. A client
that holds one trusted root refuses what is older than it has seen, expired, mixed of two states, changed, too long,
unsigned or signed by too few. Which vehicle a release is for travels as signed `custom` metadata and is compared here.

The Update Framework, specification 1.0.x, https://theupdateframework.github.io/specification/latest; J. Samuel et al.,
"Survivable Key Compromise in Software Update Systems", CCS 2010.
"""

import dataclasses
import datetime
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data.errors import BadInput
from federated.registry import Artifact, Vehicle

ROLES = ("root", "targets", "snapshot", "timestamp")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_SUFFIX = ".json"


@dataclasses.dataclass(frozen=True)
class Role:
  """keys: how many there are; threshold: of how many a signature is needed; days: until it expires."""

  keys: int
  threshold: int
  days: float


def make_keys(directory: os.PathLike | str, roles: Mapping[str, Role]) -> None:
  """Ed25519 keys <role>-<n>.pem, readable by their owner alone; BadInput where there are any already."""
  from cryptography.hazmat.primitives import serialization
  from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

  root = pathlib.Path(directory)
  if root.exists():
    raise BadInput("exists already", root, "keep keys apart: give a new directory")
  if sorted(roles) != sorted(ROLES) or any(not 1 <= role.threshold <= role.keys for role in roles.values()):
    raise BadInput(
      f"roles are {dict(roles)}", root, f"give {', '.join(ROLES)}, each with keys for its threshold"
    )
  root.mkdir(mode=0o700, parents=True)
  for name, role in roles.items():
    for number in range(role.keys):
      text = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
      )
      handle = os.open(root / f"{name}-{number}.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
      with os.fdopen(handle, "wb") as file:
        file.write(text)


def signers(directory: os.PathLike | str, role: str) -> list:
  """Signers of a role; BadInput for keys that others can read, or none."""
  from cryptography.hazmat.primitives.serialization import load_pem_private_key
  from securesystemslib.signer import CryptoSigner

  found = []
  for path in sorted(pathlib.Path(directory).glob(f"{role}-*.pem")):
    if path.stat().st_mode & 0o077:
      raise BadInput("can be read by others", path, "chmod 600 it, and replace the key if anybody has")
    found.append(CryptoSigner(load_pem_private_key(path.read_bytes(), None)))
  if not found:
    raise BadInput(f"holds no key of {role}", directory, "give the directory of make_keys")
  return found


class Depot:
  """A repository: metadata/ and targets/ below `path`, to be served as files. now: the time, for what it signs."""

  def __init__(self, path: os.PathLike | str, keys: os.PathLike | str, roles: Mapping[str, Role]):
    self.path, self.keys, self.roles = pathlib.Path(path), pathlib.Path(keys), dict(roles)
    self.now = lambda: datetime.datetime.now(datetime.UTC)
    (self.path / "metadata").mkdir(parents=True, exist_ok=True)
    (self.path / "targets").mkdir(exist_ok=True)

  def start(self) -> None:
    """The first metadata of every role."""
    from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

    root = Root(consistent_snapshot=True, expires=self.now())
    for name, role in self.roles.items():
      for signer in signers(self.keys, name):
        root.add_key(signer.public_key, name)
      root.roles[name].threshold = role.threshold
    for name, signed in (
      ("root", root),
      ("targets", Targets(expires=self.now())),
      ("snapshot", Snapshot(expires=self.now())),
      ("timestamp", Timestamp(expires=self.now())),
    ):
      self._write(name, signed)

  def publish(self, export: os.PathLike | str, artifact: Artifact) -> None:
    """One release: the artifact's files out of an export (checked by its manifest), named v<version>/<path>."""
    from tuf.api.metadata import TargetFile, Targets

    targets = self._newest("targets", Targets)
    meant = {
      "version": artifact.version,
      "target": artifact.target,
      "files": sorted(artifact.files),
      "platforms": sorted(artifact.platforms),
      "rigs": sorted(artifact.rigs),
      "regions": sorted(artifact.regions),
    }
    for name, digest in artifact.files.items():
      if not _NAME.fullmatch(name):
        raise BadInput(f"names {name!r}", f"version {artifact.version}", "export it again")
      path = pathlib.Path(export) / name
      made = TargetFile.from_file(f"v{artifact.version}/{name}", str(path), ["sha256"])
      if made.hashes["sha256"] != digest:
        raise BadInput("is not the file of the manifest", path, "export it again")
      made.unrecognized_fields["custom"] = meant
      stored = self.path / "targets" / f"v{artifact.version}" / name
      stored.parent.mkdir(parents=True, exist_ok=True)
      shutil.copyfile(path, stored.with_name(f"{digest}.{stored.name}"))
      targets.targets[made.path] = made
    self._write("targets", targets)
    self.date()

  def date(self, all_of_it: bool = True) -> None:
    """A new timestamp, and snapshot where all_of_it: to be called often enough that none expires."""
    from tuf.api.metadata import MetaFile, Snapshot, Targets, Timestamp

    snapshot, timestamp = self._newest("snapshot", Snapshot), self._newest("timestamp", Timestamp)
    if all_of_it:
      snapshot.meta["targets.json"] = MetaFile(self._newest("targets", Targets).version)
      self._write("snapshot", snapshot)
    timestamp.snapshot_meta = MetaFile(snapshot.version)
    self._write("timestamp", timestamp)

  def _versions(self, role: str) -> list[int]:
    return [int(path.name.split(".")[0]) for path in (self.path / "metadata").glob(f"*.{role}{_SUFFIX}")]

  def _newest(self, role: str, kind: type) -> Any:
    from tuf.api.metadata import Metadata

    versions = self._versions(role)
    if not versions:
      raise BadInput(f"has no {role} metadata", self.path, "start it first")
    held = Metadata.from_file(str(self.path / "metadata" / f"{max(versions)}.{role}{_SUFFIX}")).signed
    assert isinstance(held, kind)
    return held

  def _write(self, role: str, signed: Any) -> None:
    from tuf.api.metadata import Metadata

    signed.version = max(self._versions(role), default=0) + 1
    signed.expires = (self.now() + datetime.timedelta(days=self.roles[role].days)).replace(microsecond=0)
    made = Metadata(signed)
    for signer in signers(self.keys, role):
      made.sign(signer, append=True)
    made.to_file(str(self.path / "metadata" / f"{signed.version}.{role}{_SUFFIX}"))
    if role == "timestamp":
      made.to_file(str(self.path / "metadata" / f"timestamp{_SUFFIX}"))

  def trusted_root(self) -> bytes:
    """What a vehicle leaves the factory with."""
    return (self.path / "metadata" / f"1.root{_SUFFIX}").read_bytes()


def from_disk(path: os.PathLike | str) -> Any:
  """A fetcher of file names below a directory, in the place of HTTP; see the library's FetcherInterface."""
  from tuf.api.exceptions import DownloadHTTPError
  from tuf.ngclient import FetcherInterface

  root = pathlib.Path(path)

  class Disk(FetcherInterface):
    def _fetch(self, url: str) -> Iterator[bytes]:
      found = root / url
      if not found.is_file():
        raise DownloadHTTPError(f"{url} is not there", 404)
      return iter([found.read_bytes()])

  return Disk()


def fetch(
  state: os.PathLike | str,
  out: os.PathLike | str,
  version: int,
  files: Sequence[str],
  vehicle: Vehicle,
  trusted_root: bytes,
  url: str = "",
  fetcher: Any = None,
) -> dict[str, pathlib.Path]:
  """{name: path below `out`} of the files of a release, each verified; nothing is left behind unless all are.

  state: what the vehicle has seen before, its memory against rollback; kept across calls. url, fetcher: the depot.
  Raises the library's RepositoryError or DownloadError for metadata and files that it refuses, BadInput for a
  release that is not there, not for this vehicle, or of other files.
  """
  from tuf.ngclient import Updater

  memory, final = pathlib.Path(state), pathlib.Path(out)
  memory.mkdir(parents=True, exist_ok=True)
  if final.exists():
    raise BadInput("exists already", final, "give a new directory")
  parts = f"{url}metadata/", f"{url}targets/"
  updater = Updater(str(memory), parts[0], target_base_url=parts[1], fetcher=fetcher, bootstrap=trusted_root)
  updater.refresh()
  whole = []
  for name in files:
    found = updater.get_targetinfo(f"v{version}/{name}")
    if found is None or not _NAME.fullmatch(name):
      raise BadInput(f"has no file {name!r}", f"release {version}", "ask for a release that was published")
    meant = found.custom or {}
    for kind, own in (("platforms", vehicle.platform), ("rigs", vehicle.rig), ("regions", vehicle.region)):
      if own not in meant.get(kind, ()):
        what = f"is for {kind} {', '.join(meant.get(kind, ())) or 'unknown'}, not {own}"
        raise BadInput(what, f"release {version}", "ask for a release for this vehicle")
    if meant["version"] != version or meant["files"] != sorted(files):
      raise BadInput(f"is of {', '.join(meant['files'])}", f"release {version}", "ask for all of its files")
    whole.append((name, found))
  coming = final.with_name(f".{final.name}.coming")
  shutil.rmtree(coming, ignore_errors=True)
  try:
    for name, found in whole:
      updater.download_target(found, str(coming / name))
    coming.rename(final)
  finally:
    shutil.rmtree(coming, ignore_errors=True)
  return {name: final / name for name in files}
