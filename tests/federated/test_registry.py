"""Which version runs where: what fits is found, and everything else is refused by name."""

import dataclasses

import pytest

from data.errors import BadInput
from federated import registry
from federated.registry import Artifact, Platform, Registry, Vehicle

IMAGES = ("uint8", (1, 4, 2, 32, 32, 3))
ARTIFACT = Artifact(
  version=7,
  target="onnx_int8",
  inputs={"images": IMAGES},
  files={"onnx_int8/model.onnx": "0" * 64},
  size=100,
  platforms=frozenset({"small"}),
  rigs=frozenset({"pair"}),
  regions=frozenset({"fi", "us"}),
)
EMPTY = Registry(
  {"small": Platform(frozenset({"onnx_int8"}), 1000), "tiny": Platform(frozenset({"onnx_int8"}), 10)}
  | {"other": Platform(frozenset({"openvino_int8"}), 1000)},
  {"pair": {"images": IMAGES, "ego": ("float32", (1, 4, 3))}, "single": {"images": ("uint8", (1, 4, 1, 32, 32, 3))}}
  | {"lidar": {"points": ("float16", (1, 4, 64, 4))}},
)  # fmt: skip
VEHICLE = Vehicle("car 3", "small", "pair", "fi")


def with_(**changes):
  return dataclasses.replace(ARTIFACT, **changes)


def test_the_newest_that_fits_is_chosen():
  known = registry.publish(EMPTY, ARTIFACT)
  known = registry.publish(known, with_(version=9, regions=frozenset({"us"})))
  known = registry.publish(known, with_(version=8, regions=frozenset({"fi"})))
  assert registry.newest(known, VEHICLE).version == 8
  assert registry.newest(known, dataclasses.replace(VEHICLE, region="us")).version == 9


@pytest.mark.parametrize(
  ("changes", "says"),
  [
    ({"regions": frozenset()}, "names no regions"),
    ({"platforms": frozenset({"big"})}, "'big', which is none of the platforms"),
    ({"rigs": frozenset({"five"})}, "'five', which is none of the rigs"),
    ({"platforms": frozenset({"other"})}, "other reads openvino_int8, not onnx_int8"),
    ({"platforms": frozenset({"tiny"})}, "tiny stores 10 bytes, it has 100"),
    ({"rigs": frozenset({"lidar"})}, "rig lidar gives no images"),
    ({"rigs": frozenset({"single"})}, r"rig single gives images as .* the model takes"),
    ({"version": 6}, "is not newer than version 7"),
    ({"version": 7, "regions": frozenset({"us", "se"})}, "is not newer than version 7"),
  ],
)
def test_what_cannot_run_is_not_published(changes, says):
  with pytest.raises(BadInput, match=says):
    registry.publish(registry.publish(EMPTY, ARTIFACT), with_(**{"version": 8} | changes))


@pytest.mark.parametrize(
  ("changes", "says"),
  [
    ({"platform": "other"}, "version 7 of onnx_int8 is for small, not other and other reads openvino_int8"),
    ({"rig": "lidar"}, "is for pair, not lidar and rig lidar gives no images"),
    ({"region": "se"}, "is for fi, us, not se"),
    ({"platform": "unheard of"}, "car 3: is of platform 'unheard of'"),
  ],
)
def test_a_vehicle_without_a_version_is_told_why(changes, says):
  with pytest.raises(BadInput, match=says):
    registry.newest(registry.publish(EMPTY, ARTIFACT), dataclasses.replace(VEHICLE, **changes))


def test_nothing_released_is_said_so():
  with pytest.raises(BadInput, match="nothing was released"):
    registry.newest(EMPTY, VEHICLE)


MANIFEST = {
  "inputs": {"images": ["uint8", [1, 4, 2, 32, 32, 3]]},
  "targets": {
    "onnx_int8": {"files": {"onnx_int8/model.onnx": {"bytes": 60, "sha256": "a" * 64}}},
    "onnx_fp32": {"failed": "ValueError: no such operator"},
    "odd": {"files": {"odd/model": {"bytes": 60, "sha256": "a"}}},
  },
}
MEANT = frozenset({"small"}), frozenset({"pair"}), frozenset({"fi"})


def test_an_artifact_is_what_the_manifest_of_its_export_says():
  made = registry.from_manifest(MANIFEST, "onnx_int8", 3, *MEANT)
  assert (made.size, made.files) == (60, {"onnx_int8/model.onnx": "a" * 64})
  assert registry.newest(registry.publish(EMPTY, made), VEHICLE) == made


@pytest.mark.parametrize(
  ("target", "says"),
  [
    ("litert", "has no target 'litert'"),
    ("onnx_fp32", "failed: ValueError"),
    ("odd", "no digest of odd/model"),
  ],
)
def test_a_target_that_is_none_is_refused(target, says):
  with pytest.raises(BadInput, match=says):
    registry.from_manifest(MANIFEST, target, 3, *MEANT)
