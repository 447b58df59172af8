"""The program that releases: what it signs a vehicle takes, and what must not be released leaves no trace."""

import hashlib
import json

import pytest

pytest.importorskip("tuf")

from data.errors import BadInput
from federated import publish, updates
from federated.registry import Vehicle

FLEET = """
[platforms.small]
targets = ["onnx_int8"]
storage = 1000
[rigs.pair]
images = ["uint8", [1, 4, 2]]
[roles]
root = {keys = 2, threshold = 2, days = 365}
targets = {keys = 1, threshold = 1, days = 90}
snapshot = {keys = 1, threshold = 1, days = 7}
timestamp = {keys = 1, threshold = 1, days = 1}
"""
MEANT = {"platforms": ["small"], "rigs": ["pair"], "regions": ["fi"]}
MODEL = "onnx_int8/model.onnx"


def exported(path, content="model"):
  (path / "onnx_int8").mkdir(parents=True)
  (path / MODEL).write_text(content)
  digest = hashlib.sha256(content.encode()).hexdigest()
  files = {MODEL: {"sha256": digest, "bytes": len(content)}}
  manifest = {"inputs": {"images": ["uint8", [1, 4, 2]]}, "targets": {"onnx_int8": {"files": files}}}
  (path / "manifest.json").write_text(json.dumps(manifest))
  return path


def test_what_is_released_a_vehicle_takes_and_versions_only_rise(tmp_path):
  (tmp_path / "fleet.toml").write_text(FLEET)
  fleet, depot, keys = publish.read_fleet(tmp_path / "fleet.toml"), tmp_path / "depot", tmp_path / "keys"

  def release(version, content, **changes):
    export = exported(tmp_path / f"export {content}", content)
    return publish.publish(export, "onnx_int8", version, fleet, MEANT | changes, depot, keys)

  with pytest.raises(BadInput, match="'big', which is none of the platforms"):
    release(1, "for nobody", platforms=["big"])
  assert not depot.exists() and not keys.exists()
  release(1, "one")
  release(2, "two")
  signed = sorted(path.name for path in (depot / "metadata").iterdir())
  with pytest.raises(BadInput, match="not newer than version 2"):
    release(2, "two again")
  assert sorted(path.name for path in (depot / "metadata").iterdir()) == signed
  root = (depot / "metadata" / "1.root.json").read_bytes()
  vehicle, source = Vehicle("car", "small", "pair", "fi"), updates.from_disk(depot)
  got = updates.fetch(tmp_path / "state", tmp_path / "got", 2, [MODEL], vehicle, root, fetcher=source)
  assert got[MODEL].read_text() == "two"


def test_a_fleet_that_is_none_is_refused(tmp_path):
  (tmp_path / "fleet.toml").write_text(FLEET.replace("storage", "room"))
  with pytest.raises(BadInput, match="no description of a fleet"):
    publish.read_fleet(tmp_path / "fleet.toml")
