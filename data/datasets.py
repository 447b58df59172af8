"""Datasets on disk: scenes and their training windows as TFDS datasets on ArrayRecord, with shard hashes.

  OUT/dataset.json      the manifest below; written last, so that its presence means a whole dataset
  OUT/scenes/1.0.0/     TFDS, one record per scene      (data.records.encode_scene)
  OUT/windows/1.0.0/    TFDS, one record per window     (data.records.encode_window)

Records are written with group size 1: a damaged byte costs one record. TensorFlow is never imported.
"""

import dataclasses
import errno
import functools
import hashlib
import json
import pathlib
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from array_record.python import array_record_module

from data import context, motion, records
from data.errors import BadInput
from data.files import canonical_json, read_json, require_free_space, sha256, write_json_atomic
from data.schema import SCHEMA_VERSION, Scene
from data.windows import Window, WindowConfig

FORMAT_VERSION = 1
KINDS = ("scenes", "windows")
_RECORDS_PER_SHARD = {"scenes": 256, "windows": 16384}
_FREE_BYTES = 256 * 2**20
_REBUILD = "build the dataset again with data.build"


def tokens_fingerprint() -> str:
  """Changes whenever the meaning of a token or a feature does."""
  meaning = [motion.ACCELERATIONS, motion.YAW_RATES, context.FEATURES, context.LOOKAHEADS, FORMAT_VERSION]
  return hashlib.sha256(canonical_json(meaning).encode()).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Dataset:
  """An opened dataset.

  Attributes:
    path: its directory. manifest: dataset.json. window: shapes of its windows.
    domains: names in the order of the windows' domain index. fingerprint: SHA-256 over the shards.
  """

  path: pathlib.Path
  manifest: dict[str, Any]
  window: WindowConfig
  domains: tuple[str, ...]
  fingerprint: str

  def source(self, kind: str, split: str) -> Any:
    """Random access to the raw records (bytes) of "scenes" or "windows"."""
    if not self.manifest["splits"].get(split, {}).get(kind):
      known = [name for name, counts in self.manifest["splits"].items() if counts[kind]]
      raise BadInput(f"split {split!r} holds no {kind}", self.path, f"choose one of {known}")
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(str(self.path / kind / "1.0.0")).as_data_source(split)

  def example(self) -> dict[str, np.ndarray]:
    """An empty window, stacked: for shapes."""
    return {name: np.zeros((1, *shape), dtype) for name, (shape, dtype) in self.window.spec.items()}

  def scenes(self, split: str) -> Iterator[Scene]:
    """All scenes of a split, in the order they were written."""
    source = self.source("scenes", split)
    for index in range(len(source)):
      yield records.decode_scene(source[index]["record"], f"{self.path}/scenes {split} {index}")


def require_new(out: pathlib.Path | str) -> pathlib.Path:
  """The absolute path, when nothing is there yet and the disk has room; else BadInput."""
  out = pathlib.Path(out).absolute()
  if out.exists():
    raise BadInput("exists already", out, "choose another --out or remove it")
  require_free_space(out, _FREE_BYTES)
  return out


def write_dataset(
  out: pathlib.Path | str,
  examples: Iterable[tuple[str, Scene, list[Window]]],
  window: WindowConfig,
  domains: tuple[str, ...],
  splits: tuple[str, ...],
  notes: dict[str, Any],
) -> dict[str, Any]:
  """Writes (split, scene, windows) triples to `out` and returns the manifest.

  Everything goes to a sibling directory that is renamed at the end; on any error it is removed.
  Raises BadInput when `out` exists, the disk is full, or a split stays empty.
  """
  out = require_new(out)
  partial = out.with_name(f".{out.name}.partial")
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  try:
    counts = _write_records(partial, examples, window, splits)
    for name, count in counts.items():
      if not count["windows"]:
        raise BadInput(f"split {name!r} has no windows", out, "give more scenes or other split fractions")
    manifest = {
      "schema_version": SCHEMA_VERSION,
      "format_version": FORMAT_VERSION,
      "tokens_fingerprint": tokens_fingerprint(),
      "window": dataclasses.asdict(window),
      "domains": list(domains),
      "splits": counts,
      "shards": _shards(partial),
      "notes": notes,
    }
    manifest["fingerprint"] = _fingerprint(manifest)
    write_json_atomic(partial / "dataset.json", manifest)
    partial.rename(out)
  except OSError as error:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
      raise BadInput("no space left while writing", out, "free some space and run again") from None
    raise
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  return manifest


def open_dataset(directory: pathlib.Path | str, verify: bool = True) -> Dataset:
  """Opens and checks a dataset; `verify` compares every shard with its SHA-256.

  Raises BadInput for another schema or token version, and for absent, truncated or altered shards.
  """
  path = pathlib.Path(directory)
  manifest = read_json(path / "dataset.json", "give the --out directory of data.build")
  for key, wanted in (
    ("schema_version", SCHEMA_VERSION),
    ("format_version", FORMAT_VERSION),
    ("tokens_fingerprint", tokens_fingerprint()),
  ):
    if manifest.get(key) != wanted:
      raise BadInput(f"{key} is {manifest.get(key)}, this version reads {wanted}", path, _REBUILD)
  for name, (size, digest) in manifest["shards"].items():
    _check_shard(path / name, size, digest if verify else None)
  return Dataset(
    path, manifest, WindowConfig(**manifest["window"]), tuple(manifest["domains"]), manifest["fingerprint"]
  )


def _check_shard(shard: pathlib.Path, size: int, digest: str | None) -> None:
  if not shard.is_file():
    raise BadInput("shard is missing", shard, _REBUILD)
  if shard.stat().st_size != size:
    raise BadInput(f"shard has {shard.stat().st_size} bytes, {size} were written", shard, _REBUILD)
  if digest is not None and sha256(shard) != digest:
    try:  # a damaged record is skipped and counted later; a shard that does not open is the end
      reader = array_record_module.ArrayRecordReader(str(shard))
      reader.num_records()
      reader.close()
    except Exception as error:
      raise BadInput(f"shard does not open ({error})", shard, _REBUILD) from None


def _write_records(partial, examples, window: WindowConfig, splits) -> dict[str, dict[str, int]]:
  writers = {kind: _writer(partial, kind, splits) for kind in KINDS}
  counts = {name: {"scenes": 0, "windows": 0, "tokens": 0} for name in splits}
  encode = functools.partial(records.encode_window, spec=window.spec)
  for split, scene, windows in examples:
    writers["scenes"].add_examples({split: [{"record": records.encode_scene(scene)}]})
    if windows:
      writers["windows"].add_examples({split: [{"record": encode(w)} for w in windows]})
    counts[split]["scenes"] += 1
    counts[split]["windows"] += len(windows)
    counts[split]["tokens"] += int(sum(w["mask_TxA"].sum() for w in windows))
  for writer in writers.values():
    writer.close_all()
  return counts


def _writer(partial: pathlib.Path, kind: str, splits: tuple[str, ...]):
  import tensorflow_datasets as tfds

  identity = tfds.core.dataset_info.DatasetIdentity(
    name=kind,
    version=tfds.core.Version("1.0.0"),
    data_dir=str(partial / kind / "1.0.0"),
    module_name=__name__,
  )
  info = tfds.core.DatasetInfo(
    builder=identity,
    features=tfds.features.FeaturesDict({"record": tfds.features.Tensor(shape=(), dtype=np.object_)}),
  )
  (partial / kind / "1.0.0").mkdir(parents=True)
  writer = tfds.core.SequentialWriter(info, _RECORDS_PER_SHARD[kind], file_format="array_record")
  writer.initialize_splits(list(splits))
  return writer


def _shards(partial: pathlib.Path) -> dict[str, list]:
  """{relative name: [bytes, sha256]} of every data file."""
  return {
    str(path.relative_to(partial)): [path.stat().st_size, sha256(path)]
    for path in sorted(partial.rglob("*.array_record*"))
  }


def _fingerprint(manifest: dict) -> str:
  parts = {key: manifest[key] for key in ("window", "domains", "splits", "tokens_fingerprint")}
  parts["shards"] = {name: digest for name, (_, digest) in manifest["shards"].items()}
  return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
