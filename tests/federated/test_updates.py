"""Attacks on releases, planted in a depot's files as an attacker would, all refused; and what must pass, passes."""

import datetime
import hashlib
import json
import shutil

import pytest

pytest.importorskip("tuf")

from tuf.api import exceptions
from tuf.api.metadata import Metadata

from data.errors import BadInput
from federated import updates
from federated.registry import Artifact, Vehicle
from federated.updates import Depot, Role

ROLES = {
  "root": Role(3, 2, 365),
  "targets": Role(2, 2, 90),
  "snapshot": Role(1, 1, 7),
  "timestamp": Role(1, 1, 1),
}
VEHICLE = Vehicle("car 3", "small", "pair", "fi")
MODEL = "onnx_int8/model.onnx"


class World:
  """A depot with release 1, a vehicle that has release 1, and then release 2."""

  def __init__(self, path):
    self.path, self.fetched = path, 0
    updates.make_keys(path / "keys", ROLES)
    self.depot = Depot(path / "depot", path / "keys", ROLES)
    self.depot.start()
    self.root = self.depot.trusted_root()
    self.release(1)
    self.fetch(1)
    self.before = path / "before"
    shutil.copytree(self.depot.path, self.before)
    self.release(2)

  def release(self, version, **changes):
    export = self.path / f"export {version}"
    (export / "onnx_int8").mkdir(parents=True)
    (export / MODEL).write_text(f"model {version}")
    digest = hashlib.sha256((export / MODEL).read_bytes()).hexdigest()
    meant = {"platforms": frozenset({"small"}), "rigs": frozenset({"pair"}), "regions": frozenset({"fi"})}
    self.depot.publish(export, Artifact(version, "onnx_int8", {}, {MODEL: digest}, 7, **meant | changes))

  def fetch(self, version, vehicle=VEHICLE, files=(MODEL,), depot=None):
    self.fetched += 1
    source = updates.from_disk(depot or self.depot.path)
    out = self.path / f"got {self.fetched}"
    try:
      return updates.fetch(self.path / "state", out, version, files, vehicle, self.root, fetcher=source)
    finally:
      left = [path.name for path in self.path.iterdir() if path.name.startswith((".got", out.name))]
      assert left in ([], [out.name])  # all of it or nothing

  def metadata(self, name):
    return self.depot.path / "metadata" / name

  def change(self, name, edit):
    """Changes signed metadata without keys."""
    whole = json.loads(self.metadata(name).read_text())
    edit(whole)
    self.metadata(name).write_text(json.dumps(whole))


@pytest.fixture
def world(tmp_path):
  return World(tmp_path)


def test_a_release_arrives_and_the_next_one_too(world):
  assert world.fetch(2)[MODEL].read_text() == "model 2"
  world.release(3)
  assert world.fetch(3)[MODEL].read_text() == "model 3"
  assert world.fetch(2)[MODEL].read_text() == "model 2"  # still in the current metadata: a roll-out stopped


def replay_everything(world):
  world.fetch(2)
  shutil.rmtree(world.depot.path)
  shutil.copytree(world.before, world.depot.path)


def replay_snapshot_and_targets(world):
  """An attacker with the online keys makes old targets current."""
  world.fetch(2)
  snapshot = Metadata.from_file(str(world.metadata("3.snapshot.json")))
  snapshot.signed.version, snapshot.signed.meta["targets.json"].version = 4, 2
  resign(world, snapshot, "snapshot", "4.snapshot.json")
  point(world, 4)


def resign(world, made, role, name):
  made.signatures.clear()
  for signer in updates.signers(world.depot.keys, role):
    made.sign(signer, append=True)
  made.to_file(str(world.metadata(name)))


def point(world, snapshot):
  timestamp = Metadata.from_file(str(world.metadata("timestamp.json")))
  timestamp.signed.version += 1
  timestamp.signed.snapshot_meta.version = snapshot
  resign(world, timestamp, "timestamp", "timestamp.json")


def older_snapshot(world):
  """An attacker with the timestamp's key makes an old snapshot current."""
  world.fetch(2)
  point(world, 2)


def freeze(world):
  """The depot is cut off: its last timestamp is all that the vehicle sees, weeks later."""
  world.depot.now = lambda: datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)
  world.depot.date(all_of_it=False)


def frozen_snapshot(world):
  world.depot.now = lambda: datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=8)
  world.depot.date()
  world.depot.now = lambda: datetime.datetime.now(datetime.UTC)
  world.depot.date(all_of_it=False)


def mixed_targets(world):
  """Targets of one state under the name of another's, validly signed."""
  shutil.copy(world.metadata("2.targets.json"), world.metadata("3.targets.json"))


def mixed_snapshot(world):
  shutil.copy(world.metadata("2.snapshot.json"), world.metadata("3.snapshot.json"))


def unsigned(world):
  world.change("3.targets.json", lambda whole: whole.update(signatures=[]))


def too_few(world):
  world.change("3.targets.json", lambda whole: whole.update(signatures=whole["signatures"][:1]))


def same_key_twice(world):
  world.change("3.targets.json", lambda whole: whole.update(signatures=whole["signatures"][:1] * 2))


def strangers(world):
  """All roles signed by keys that nobody trusts."""
  updates.make_keys(world.path / "strange", ROLES)
  world.depot.keys = world.path / "strange"
  world.release(9)


def strange_root(world):
  """A new root that gives every role to strangers, signed by them alone."""
  updates.make_keys(world.path / "strange", ROLES)
  depot = Depot(world.path / "theirs", world.path / "strange", ROLES)
  depot.start()
  made = Metadata.from_file(str(depot.path / "metadata" / "1.root.json"))
  made.signed.version = 2
  world.depot.keys = depot.keys
  resign(world, made, "root", "2.root.json")


def changed_metadata(world):
  def edit(whole):
    whole["signed"]["targets"][f"v2/{MODEL}"]["custom"]["platforms"] = ["small", "other"]

  world.change("3.targets.json", edit)


def model_file(world):
  (found,) = (world.depot.path / "targets" / "v2" / "onnx_int8").iterdir()
  return found


def tampered(world):
  model_file(world).write_text("model X")  # as long as it was


def endless(world):
  model_file(world).write_bytes(b"0" * 1_000_000)


def cut(world):
  model_file(world).write_bytes(b"mod")


def gone(world):
  model_file(world).unlink()


def no_timestamp(world):
  world.metadata("timestamp.json").unlink()


@pytest.mark.parametrize(
  ("attack", "refusal"),
  [
    (replay_everything, exceptions.BadVersionNumberError),
    (replay_snapshot_and_targets, exceptions.BadVersionNumberError),
    (older_snapshot, exceptions.BadVersionNumberError),
    (freeze, exceptions.ExpiredMetadataError),
    (frozen_snapshot, exceptions.ExpiredMetadataError),
    (mixed_targets, exceptions.BadVersionNumberError),
    (mixed_snapshot, exceptions.BadVersionNumberError),
    (unsigned, exceptions.UnsignedMetadataError),
    (too_few, exceptions.UnsignedMetadataError),
    (same_key_twice, exceptions.RepositoryError),
    (strangers, exceptions.UnsignedMetadataError),
    (strange_root, exceptions.UnsignedMetadataError),
    (changed_metadata, exceptions.UnsignedMetadataError),
    (tampered, exceptions.LengthOrHashMismatchError),
    (endless, exceptions.DownloadLengthMismatchError),
    (cut, exceptions.LengthOrHashMismatchError),
    (gone, exceptions.DownloadHTTPError),
    (no_timestamp, exceptions.DownloadHTTPError),
  ],
  ids=lambda value: value.__name__,
)
def test_an_attack_is_refused(world, attack, refusal):
  attack(world)
  with pytest.raises(refusal):
    world.fetch(2)


@pytest.mark.parametrize(
  ("vehicle", "says"),
  [
    (Vehicle("car 4", "other", "pair", "fi"), "for platforms small, not other"),
    (Vehicle("car 5", "small", "single", "fi"), "for rigs pair, not single"),
    (Vehicle("car 6", "small", "pair", "us"), "for regions fi, not us"),
  ],
)
def test_a_release_for_other_hardware_is_refused(world, vehicle, says):
  with pytest.raises(BadInput, match=says):
    world.fetch(2, vehicle)


def test_files_that_are_no_release_are_refused(world):
  for files in (["onnx_int8/other"], ["../../etc/passwd"]):
    with pytest.raises(BadInput, match="has no file"):
      world.fetch(2, files=files)
  with pytest.raises(BadInput, match="is not the file of the manifest"):
    export = world.path / "export 2"
    meant = frozenset({"small"}), frozenset({"pair"}), frozenset({"fi"})
    world.depot.publish(export, Artifact(3, "onnx_int8", {}, {MODEL: "0" * 64}, 7, *meant))


def test_keys_that_others_can_read_sign_nothing(world):
  (world.path / "keys" / "targets-0.pem").chmod(0o644)
  with pytest.raises(BadInput, match="can be read by others"):
    world.release(3)
  with pytest.raises(BadInput, match="exists already"):
    updates.make_keys(world.path / "keys", ROLES)
