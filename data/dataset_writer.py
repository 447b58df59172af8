"""Writing a dataset: to a sibling directory first, renamed at the end, so that a dataset is whole or absent."""

import dataclasses
import errno
import pathlib
import shutil
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from data import records
from data.datasets import CONFIGS, FORMAT_VERSION, KINDS, VERSION, fingerprint, tokens_fingerprint
from data.errors import BadInput
from data.files import require_free_space, sha256, write_json_atomic
from data.records import RecordConfig
from data.schema import SCHEMA_VERSION, Scene

Record = dict[str, np.ndarray]
_RECORDS_PER_SHARD = {"scenes": 256, "windows": 16384, "rollouts": 16384, "clips": 512, "codes": 4096}
# Group size 1: a damaged byte costs one record. Windows are read once per epoch and run, on cores that also train:
# unpacking them takes longer than reading them does, so they stay as they are, at three times the size.
_OPTIONS = {
  "scenes": "group_size:1",
  "windows": "group_size:1,uncompressed",
  "rollouts": "group_size:1",
  "codes": "group_size:1,uncompressed",
  "clips": "group_size:1",
}
_FREE_BYTES = 256 * 2**20
_FULL = ("No space left", "RESOURCE_EXHAUSTED", "Disk quota exceeded", "File too large")


def require_new(out: pathlib.Path | str) -> pathlib.Path:
  """The absolute path, when nothing is there yet and the disk has room; else BadInput."""
  out = pathlib.Path(out).absolute()
  if out.exists():
    raise BadInput("exists already", out, "choose another --out or remove it")
  require_free_space(out, _FREE_BYTES)
  return out


def write_dataset(
  out: pathlib.Path | str,
  examples: Iterable[tuple[str, Scene | None, list[Record]]],
  config: RecordConfig,
  domains: tuple[str, ...],
  splits: tuple[str, ...],
  notes: dict[str, Any],
  kinds: tuple[str, ...] = KINDS,
) -> dict[str, Any]:
  """Writes (split, scene, training records) triples to `out` and returns the manifest (see data.datasets).

  What is in one triple is one scene: its records are written with its number, counted over all splits. `kinds` of
  records are written; without "scenes" a scene is None, and a record needs the arrays of its kinds.
  `notes` is read after the last example, so that a caller may fill it on the way. On any error nothing is
  left behind. Raises BadInput when `out` exists, the disk is full, or a split stays empty.
  """
  out = require_new(out)
  partial = out.with_name(f".{out.name}.partial")
  shutil.rmtree(partial, ignore_errors=True)
  try:
    partial.mkdir(parents=True)
    counts = _write_records(partial, examples, config, splits, kinds)
    for name, count in counts.items():
      if not count[config.kind]:
        raise BadInput(
          f"split {name!r} has no {config.kind}", out, "give more scenes or other split fractions"
        )
    manifest = {
      "schema_version": SCHEMA_VERSION,
      "format_version": FORMAT_VERSION,
      "tokens_fingerprint": tokens_fingerprint(),
      next(name for name, kind in CONFIGS.items() if isinstance(config, kind)): dataclasses.asdict(config),
      "domains": list(domains),
      "splits": counts,
      "files": {
        str(path.relative_to(partial)): [path.stat().st_size, sha256(path)]
        for path in sorted(partial.rglob("*"))
        if path.is_file()
      },
      "notes": notes,
    }
    manifest["fingerprint"] = fingerprint(manifest)
    write_json_atomic(partial / "dataset.json", manifest)
    partial.rename(out)
  except (OSError, RuntimeError) as error:  # ArrayRecord reports a full disk as RuntimeError
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or any(text in str(error) for text in _FULL):
      raise BadInput("no space left while writing", out, "free some space and run again") from None
    raise
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  return manifest


def _write_records(partial, examples, config: RecordConfig, splits, kinds) -> dict[str, dict[str, int]]:
  writers = {kind: _Writer(partial / kind / VERSION, kind, splits) for kind in kinds}
  counts = {name: Counter({"scenes": 0, config.kind: 0, "tokens": 0}) for name in splits}
  rows = {kind: records.row_dtype(spec) for kind, spec in config.parts.items() if kind in kinds}
  for number, (split, scene, found) in enumerate(examples):
    if scene is not None:
      writers["scenes"].add(split, records.encode_scene(scene))
    for each in found:
      record = each | {"scene": np.int32(number)}
      for kind, row in rows.items():
        writers[kind].add(split, records.encode_window(record, row))
    tokens = sum(config.tokens(each) for each in found)
    there = int(scene is not None or bool(found))
    counts[split].update({"scenes": there, config.kind: len(found), "tokens": tokens})
  for writer in writers.values():
    writer.close()
  return {name: dict(count) for name, count in counts.items()}


class _Writer:
  """Byte strings to a TFDS dataset with the single feature "record".

  The shards are written here, since TFDS's own writer knows no options; TFDS describes and finds them.
  """

  def __init__(self, directory: pathlib.Path, kind: str, splits: tuple[str, ...]):
    import tensorflow_datasets as tfds
    from array_record.python import array_record_module
    from tensorflow_datasets.proto import tf_example_pb2

    directory.mkdir(parents=True)
    self._directory, self._kind = directory, kind
    self._lengths: dict[str, list[int]] = {split: [] for split in splits}  # records of every shard
    self._bytes = dict.fromkeys(splits, 0)
    self._shards: dict[str, Any] = {}  # the one of each split that is being written
    self._files = {
      split: tfds.core.ShardedFileTemplate(
        data_dir=directory,
        dataset_name=kind,
        split=split,
        filetype_suffix="array_record",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
      )
      for split in splits
    }
    self._open = array_record_module.ArrayRecordWriter
    self._example = tf_example_pb2.Example

  def add(self, split: str, record: bytes) -> None:
    lengths = self._lengths[split]
    if not lengths or lengths[-1] == _RECORDS_PER_SHARD[self._kind]:
      if lengths:
        self._shards.pop(split).close()
      path = self._files[split].sharded_filepath(shard_index=len(lengths), num_shards=None)
      self._shards[split] = self._open(str(path), _OPTIONS[self._kind])
      lengths.append(0)
    example = self._example()
    example.features.feature["record"].bytes_list.value.append(record)
    encoded = example.SerializeToString()
    self._shards[split].write(encoded)
    lengths[-1] += 1
    self._bytes[split] += len(encoded)

  def close(self) -> None:
    import tensorflow_datasets as tfds

    for shard in self._shards.values():
      shard.close()
    info = tfds.core.DatasetInfo(
      builder=tfds.core.dataset_info.DatasetIdentity(
        name=self._kind,
        version=tfds.core.Version(VERSION),
        data_dir=str(self._directory),
        module_name="data.datasets",
      ),
      features=tfds.features.FeaturesDict({"record": tfds.features.Tensor(shape=(), dtype=np.object_)}),
    )
    info.set_file_format("array_record")
    splits = [
      tfds.core.SplitInfo(split, lengths, self._bytes[split], self._files[split])
      for split, lengths in self._lengths.items()
    ]
    info.set_splits(tfds.core.SplitDict(splits))
    info.write_to_directory(self._directory)
