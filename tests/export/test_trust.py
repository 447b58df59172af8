"""Exports that are not what they say, each with one fault planted, are refused by name."""

import json
import os
import pathlib

import numpy as np
import onnx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from onnx import TensorProto, helper, numpy_helper

from data.errors import BadInput
from export import manifest, signature, tensors


def model(**external) -> onnx.ModelProto:
  """y = x + w; external: where the file says that w is."""
  weight = numpy_helper.from_array(np.arange(6, dtype=np.float32), "w")
  if external:
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in external.items():
      weight.external_data.add(key=key, value=str(value))
  x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [6]) for name in "xy")
  graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "graph", [x], [y], [weight])
  return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


@pytest.fixture
def root(tmp_path) -> pathlib.Path:
  return export(tmp_path / "export", model(location="weights.bin"))


def export(root: pathlib.Path, own: onnx.ModelProto) -> pathlib.Path:
  directory = root / "onnx_fp32"
  directory.mkdir(parents=True)
  (directory / "model.onnx").write_bytes(own.SerializeToString())
  (directory / "weights.bin").write_bytes(np.arange(6, dtype=np.float32).tobytes())
  listed = {"onnx_fp32": {"files": manifest.files_of(directory, root)}}
  (root / manifest.NAME).write_text(
    json.dumps({"format_version": manifest.FORMAT_VERSION, "targets": listed})
  )
  return root


def relisted(root: pathlib.Path, change) -> None:
  """The manifest with its list of files changed."""
  found = json.loads((root / manifest.NAME).read_text())
  change(found["targets"]["onnx_fp32"]["files"])
  (root / manifest.NAME).write_text(json.dumps(found))


def test_an_export_as_it_was_made_is_read(root):
  assert set(manifest.read(root)["targets"]) == {"onnx_fp32"}


def _changed(root):
  (root / "onnx_fp32/weights.bin").write_bytes(b"\1" * 24)


def _linked(root):
  path = root / "onnx_fp32/weights.bin"
  path.rename(root.parent / "elsewhere")
  path.symlink_to(root.parent / "elsewhere")


def _linked_directory(root):
  (root / "more").symlink_to(root.parent)


def _outside(root):
  relisted(root, lambda files: files.update({"../secret": {"bytes": 1, "sha256": ""}}))


def _absolute(root):
  relisted(root, lambda files: files.update({"/etc/hostname": {"bytes": 1, "sha256": ""}}))


def _oversized(root):
  path = root / "onnx_fp32/weights.bin"
  os.truncate(path, tensors.LARGEST + 1)  # a hole: it takes no room
  relisted(root, lambda files: files["onnx_fp32/weights.bin"].update(bytes=tensors.LARGEST + 1))


def _told(value):
  return lambda root: (root / manifest.NAME).write_text(json.dumps(value))


def _unknown(root):
  text = (root / manifest.NAME).read_text()
  (root / manifest.NAME).write_text(text.replace('"onnx_fp32": {"files"', '"../x": {"files"'))


FAULTS = {
  "changed": (_changed, "weights.bin: has changed"),
  "missing": (lambda root: (root / "onnx_fp32/weights.bin").unlink(), "weights.bin: is missing"),
  "more": (lambda root: (root / "onnx_fp32/more").write_text(""), "more: is not listed"),
  "a link": (_linked, "weights.bin: is a link"),
  "a linked directory": (_linked_directory, "more: is a link"),
  "outside": (_outside, "which is outside"),
  "absolute": (_absolute, "which is outside"),
  "oversized": (_oversized, "more than"),
  "no target": (_unknown, "no target"),
  "another format": (
    lambda root: (root / manifest.NAME).write_text('{"format_version": 0}'),
    "is of format 0",
  ),
  "no targets": (_told({"format_version": 2}), "does not tell targets"),
  "targets of another kind": (
    _told({"format_version": 2, "targets": {"onnx_fp32": []}}),
    "does not tell onnx_fp32",
  ),
  "no files": (
    _told({"format_version": 2, "targets": {"onnx_fp32": {}}}),
    "does not tell the files of onnx_fp32",
  ),
  "no sizes": (
    lambda root: relisted(root, lambda files: files.update({"onnx_fp32/model.onnx": 3})),
    "how large",
  ),
  "a pipe": (lambda root: os.mkfifo(root / "pipe"), "pipe: is not listed"),
  "no manifest": (lambda root: (root / manifest.NAME).unlink(), "manifest.json"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_refused_by_name(root, fault):
  plant, told = FAULTS[fault]
  plant(root)
  with pytest.raises(BadInput, match=told):
    manifest.read(root)


TENSORS = {
  "outside its folder": dict(location="../weights.bin"),
  "at '/etc/hostname', outside": dict(location="/etc/hostname"),
  "at '', outside": dict(offset=0),
  "which is no file": dict(location="other.bin"),
  "does not hold all": dict(location="weights.bin", offset=4),
  "at no number of bytes": dict(location="weights.bin", offset="x"),
  "which does not hold all": dict(location="weights.bin", length=8),
}


@pytest.mark.parametrize("told", TENSORS)
def test_tensors_kept_elsewhere_are_refused(tmp_path, told):
  """The file itself is listed, with its digest: who made the manifest is not to be trusted with paths."""
  with pytest.raises(BadInput, match=told):
    manifest.read(export(tmp_path / "export", model(**TENSORS[told])))


def test_oversized_tensors_and_what_is_no_model_are_refused(tmp_path):
  large = model(location="weights.bin")
  large.graph.initializer[0].dims[:] = [1 << 31, 6]
  with pytest.raises(BadInput, match="a tensor of 51539607552 bytes"):
    manifest.read(export(tmp_path / "large", large))
  (tmp_path / "model.onnx").write_bytes(b"\xff" * 40)
  with pytest.raises(BadInput, match="is no ONNX model"):
    tensors.check(tmp_path / "model.onnx")


def test_tensors_inside_branches_are_looked_at(tmp_path):
  inner = model(location="../weights.bin").graph
  outer = model()
  outer.graph.node.append(helper.make_node("If", ["c"], ["u"], then_branch=inner, else_branch=inner))
  with pytest.raises(BadInput, match="outside its folder"):
    manifest.read(export(tmp_path / "export", outer))


def test_tensors_of_functions_and_sparse_ones_are_looked_at(tmp_path):
  outside = model(location="../weights.bin").graph.initializer[0]
  of_function, of_sparse, strange = model(), model(), model()
  node = helper.make_node("Constant", [], ["c"], value=outside)
  of_function.functions.append(helper.make_function("own", "f", [], ["c"], [node], []))
  of_sparse.graph.sparse_initializer.add(values=outside)
  for name, own in (("function", of_function), ("sparse", of_sparse)):
    with pytest.raises(BadInput, match="outside its folder"):
      manifest.read(export(tmp_path / name, own))
  strange.graph.initializer[0].data_type = 99
  with pytest.raises(BadInput, match="a tensor of no type"):
    manifest.read(export(tmp_path / "strange", strange))


def test_numbers_of_four_bits_are_packed(tmp_path):
  packed = model(location="weights.bin")
  packed.graph.initializer[0].data_type = TensorProto.INT4
  packed.graph.initializer[0].dims[:] = [48]  # in 24 bytes
  manifest.read(export(tmp_path / "packed", packed))


def keys(directory: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path]:
  key = ec.generate_private_key(ec.SECP256R1())
  private, public = directory / f"{name}.pem", directory / f"{name}.pub"
  form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
  private.write_bytes(key.private_bytes(*form))
  kind = serialization.PublicFormat.SubjectPublicKeyInfo
  public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, kind))
  return private, public


def test_a_signature_is_its_owners_and_of_these_files(root, tmp_path):
  private, public = keys(tmp_path, "own")
  _, another = keys(tmp_path, "another")
  with pytest.raises(BadInput, match="is not signed"):
    signature.check(root, public)
  signature.sign(root, signature.signer(private))
  moved = root.rename(tmp_path / "moved")
  signature.check(moved, public)
  manifest.read(moved)
  with pytest.raises(BadInput, match="is not what this key has signed"):
    signature.check(moved, another)
  text = (moved / manifest.NAME).read_text()
  (moved / manifest.NAME).write_text(text + " ")  # the manifest itself is signed, too
  with pytest.raises(BadInput, match="is not what this key has signed"):
    signature.check(moved, public)
  (moved / manifest.NAME).write_text(text)
  signature.check(moved, public)
  (moved / "more").write_text("")
  with pytest.raises(BadInput, match="is not what this key has signed"):
    signature.check(moved, public)


def test_what_is_no_key_is_refused(root, tmp_path):
  private, public = keys(tmp_path, "own")
  signature.sign(root, signature.signer(private))
  with pytest.raises(BadInput, match="is no key to sign with"):
    signature.signer(public)
  with pytest.raises(BadInput, match="is no key to sign with"):
    signature.signer(tmp_path / "none.pem")
  with pytest.raises(BadInput, match="is no key to verify with"):
    signature.check(root, root / manifest.NAME)
