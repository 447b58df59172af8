"""Datasets on disk: scenes and their training windows as TFDS datasets on ArrayRecord, with shard hashes.

  OUT/dataset.json      the manifest below; written last, so that its presence means a whole dataset
  OUT/scenes/1.0.0/     TFDS, one record per scene      (data.records.encode_scene)
  OUT/windows/1.0.0/    TFDS, one record per window     (data.records.encode_window): what training reads
  OUT/rollouts/1.0.0/   TFDS, one record per window, in the same order: what a roll-out needs besides

Tokens that come from no logs (data.markov) have windows alone, and what data.render makes has OUT/clips/1.0.0/ alone;
programs that need more refuse such a dataset.

Every training record has the number of its `scene`, which no other split uses. Records of one scene are not
independent: intervals, gates and probes take whole scenes. What is no piece of a log has scenes, too: a stream of
tokens (data.markov), a split's stretch of one recording (commaVQ in data.build_codes). It is metadata: objectives may
tell by it which records belong together, and a model never reads it.

Records are written with group size 1: a damaged byte costs one record. TensorFlow is never imported.

dataset.json: schema_version, format_version, tokens_fingerprint, domains (in the order of the records' index),
splits ({name: {scenes, windows or clips or codes, tokens}}; scenes that are stored or have a training record, tokens as
the records' config counts them), the shape of its training records under the name of their kind (CONFIGS), files
({relative name: [bytes, sha256]}), notes (what the builder has to say) and fingerprint over all of it.
"""

import dataclasses
import functools
import hashlib
import logging
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from data import context, motion, records
from data.clips import ClipConfig
from data.codes import CodesConfig
from data.errors import BadInput
from data.files import canonical_json, read_json, sha256
from data.records import RecordConfig
from data.schema import SCHEMA_VERSION, Scene
from data.windows import WindowConfig

# In dataset.json: one of these names and its config.
CONFIGS: dict[str, Any] = {"window": WindowConfig, "codes": CodesConfig, "clip": ClipConfig}
FORMAT_VERSION = 4
KINDS = ("scenes", "windows", "rollouts")
VERSION = "1.0.0"  # of the TFDS datasets, which name their folder by it
REBUILD = "build the dataset again"


@dataclasses.dataclass(frozen=True)
class Dataset:
  """An opened dataset.

  Attributes:
    path: its directory. manifest: dataset.json. config: shapes of its training records, see CONFIGS.
    domains: names in the order of the records' domain index.
    fingerprint: SHA-256 over the manifest, and so over every byte.
    damaged: shards whose bytes have changed; their bad records fail one by one when read.
  """

  path: pathlib.Path
  manifest: dict[str, Any]
  config: RecordConfig
  domains: tuple[str, ...]
  fingerprint: str
  damaged: tuple[str, ...]

  @property
  def window(self) -> WindowConfig:
    """Shapes of its windows; BadInput when its training records are of another kind."""
    if not isinstance(self.config, WindowConfig):
      raise BadInput(f"holds {self.config.kind}, no windows", self.path, "choose a dataset of windows")
    return self.config

  @property
  def clip(self) -> ClipConfig:
    """Shapes of its clips; BadInput when its training records are of another kind."""
    if not isinstance(self.config, ClipConfig):
      raise BadInput(f"holds {self.config.kind}, no clips", self.path, "render it with data.render")
    return self.config

  def holds(self, kind: str) -> bool:
    """Whether it has records of a kind, such as "scenes"."""
    return any(name.startswith(f"{kind}/") for name in self.manifest["files"])

  def records(self, kind: str, split: str) -> "Records":
    """Random access to the encoded scenes or training records of a split; BadInput where there are none."""
    if not self.holds(kind):
      source = self.manifest["notes"].get("source", "its builder")
      raise BadInput(f"holds no {kind}: {source} makes none", self.path, "choose a dataset made from logs")
    counts, counted = self.manifest["splits"], "scenes" if kind == "scenes" else self.config.kind
    if not counts.get(split, {}).get(counted):
      known = ", ".join(name for name in counts if counts[name][counted])
      raise BadInput(f"split {split!r} holds no {kind}", self.path, f"choose one of {known}")
    return Records(self.path / kind / VERSION, split)

  def example(self) -> dict[str, np.ndarray]:
    """An empty training record, stacked: for shapes."""
    return {name: np.zeros((1, *shape), dtype) for name, (shape, dtype) in self.config.spec.items()}

  def scenes(self, split: str) -> Iterator[Scene]:
    """All scenes of a split, in the order they were written; an unreadable one raises BadInput."""
    encoded = self.records("scenes", split)
    for index in range(len(encoded)):
      where = f"{self.path}/scenes, {split}, record {index}"
      try:
        record = encoded[index]
      except RuntimeError as error:
        raise BadInput(f"the record is damaged ({error})", where, REBUILD) from None
      yield records.decode_scene(record, where)


class Records:
  """The byte strings of one split of a TFDS dataset. A damaged record raises RuntimeError when read.

  TFDS finds and orders the shards; its record parser, which takes longer than reading, is stepped over.
  """

  def __init__(self, directory: pathlib.Path, split: str):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.proto import tf_example_pb2

    self._source = tfds.builder_from_directory(str(directory)).as_data_source(split).data_source
    self._parse = tf_example_pb2.Example.FromString

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> bytes:
    return self._parse(self._source[index]).features.feature["record"].bytes_list.value[0]


def tokens_fingerprint() -> str:
  """Of the token bins and the number of features; what else they mean is pinned by tests, see FORMAT_VERSION."""
  meaning = [motion.ACCELERATIONS, motion.YAW_RATES, context.FEATURES, context.LOOKAHEADS]
  return hashlib.sha256(canonical_json(meaning).encode()).hexdigest()[:12]


def fingerprint(manifest: dict[str, Any]) -> str:
  """Of everything in a manifest but the fingerprint itself."""
  rest = {key: value for key, value in manifest.items() if key != "fingerprint"}
  return hashlib.sha256(canonical_json(rest).encode()).hexdigest()[:16]


def open_dataset(directory: pathlib.Path | str, verify: bool = True) -> Dataset:
  """Opens and checks a dataset; `verify` also compares every file with its SHA-256.

  Raises BadInput for another schema, format or token version, an edited manifest, and absent, truncated or
  unreadable files. A shard that differs in content but opens is named in a warning and in `damaged`: its bad
  records can be told from the good ones, which remain usable.
  """
  path = pathlib.Path(directory)
  manifest = read_json(
    path / "dataset.json", "give the --out directory of data.build, or of data.render for clips"
  )
  for key, wanted in (
    ("schema_version", SCHEMA_VERSION),
    ("format_version", FORMAT_VERSION),
    ("tokens_fingerprint", tokens_fingerprint()),
  ):
    if manifest.get(key) != wanted:
      raise BadInput(f"{key} is {manifest.get(key)}, this version reads {wanted}", path, REBUILD)
  if manifest.get("fingerprint") != fingerprint(manifest):
    raise BadInput("dataset.json does not match its own fingerprint", path, REBUILD)
  config = _config(manifest, path)
  check = functools.partial(_changed, verify=verify)
  damaged = tuple(name for name, seen in manifest["files"].items() if check(path / name, *seen))
  for name in damaged:
    logging.warning("%s has changed since it was written; its damaged records will be skipped", path / name)
  domains = tuple(manifest["domains"])
  return Dataset(path, manifest, config, domains, manifest["fingerprint"], damaged)


def _config(manifest: dict[str, Any], path: pathlib.Path) -> RecordConfig:
  """The shape of the training records, whichever kind they are of."""
  name = next((name for name in CONFIGS if name in manifest), None)
  if name is None:
    raise BadInput(f"dataset.json names none of {', '.join(CONFIGS)}", path, REBUILD)
  known = {field.name for field in dataclasses.fields(CONFIGS[name])}
  if differ := sorted(manifest[name].keys() ^ known):
    raise BadInput(f"{name} and this version differ in {', '.join(differ)}", path, REBUILD)
  return CONFIGS[name](**manifest[name])


def _changed(file: pathlib.Path, size: int, digest: str, verify: bool) -> bool:
  """Whether the content of a shard differs; whatever makes the dataset unusable raises BadInput."""
  if not file.is_file():
    raise BadInput("is missing", file, REBUILD)
  if file.stat().st_size != size:
    raise BadInput(f"has {file.stat().st_size} bytes, {size} were written", file, REBUILD)
  if not verify or sha256(file) == digest:
    return False
  if ".array_record" not in file.name:
    raise BadInput("has changed since it was written", file, REBUILD)
  from array_record.python import array_record_module

  try:
    reader = array_record_module.ArrayRecordReader(str(file))
    reader.num_records()
    reader.close()
  except Exception as error:  # the binding raises whatever fits the damage
    raise BadInput(f"does not open ({error})", file, REBUILD) from None
  return True
