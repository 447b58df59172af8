"""Scenes and windows as bytes: raw arrays in a known order, nothing executable, nothing pickled."""

import dataclasses
import json
import math
from typing import Any, ClassVar, Protocol

import numpy as np

from data import schema
from data.errors import BadInput
from data.schema import Metadata, Scene

Spec = dict[str, tuple[tuple[int, ...], type]]


class RecordConfig(Protocol):
  """What a dataset's training records are: frozen dataclasses such as data.windows.WindowConfig.

  Attributes:
    kind: what training reads, as TFDS names it: "windows", "clips".
    parts: kind of record to the arrays it holds, name to (shape, dtype); `kind` is one of them.
    spec: all arrays, over all parts.
  """

  kind: ClassVar[str]
  __dataclass_fields__: ClassVar[dict[str, Any]]

  @property
  def parts(self) -> dict[str, Spec]: ...

  @property
  def spec(self) -> Spec: ...

  def tokens(self, record: dict[str, np.ndarray]) -> int:
    """How many tokens a record has."""
    ...


def row_dtype(spec: Spec) -> np.dtype:
  """An encoded window as a packed NumPy record: one named array after the other, in the order of `spec`."""
  return np.dtype([(name, dtype, shape) for name, (shape, dtype) in spec.items()])


def encode_window(window: dict[str, np.ndarray], row: np.dtype) -> bytes:
  """The bytes of one `row`; an array of another shape raises ValueError, one of another kind TypeError."""
  record = np.zeros((), row)
  for name in row.names or ():
    if window[name].shape != row[name].shape:
      raise ValueError(f"{name} has shape {window[name].shape}, the spec says {row[name].shape}")
    np.copyto(record[name], window[name], casting="same_kind")
  return record.tobytes()


def encode_scene(scene: Scene) -> bytes:
  """A line of JSON (metadata and array shapes), then the arrays back to back."""
  values = schema.arrays(scene)
  header = {
    "metadata": dataclasses.asdict(scene.metadata),
    "shapes": {name: list(value.shape) for name, value in values.items()},
  }
  text = json.dumps(header, sort_keys=True, allow_nan=False).encode()
  return text + b"\n" + b"".join(np.ascontiguousarray(value).tobytes() for value in values.values())


def decode_scene(record: bytes, where: object) -> Scene:
  """The inverse of `encode_scene`; a record that does not add up raises BadInput naming `where`."""
  line, _, body = record.partition(b"\n")
  dtypes, values, offset = schema.array_dtypes(), {}, 0
  try:
    header = json.loads(line)
    for name, dtype in dtypes.items():
      shape = tuple(header["shapes"][name])
      size = math.prod(shape) * np.dtype(dtype).itemsize
      values[name] = np.frombuffer(body[offset : offset + size], dtype).reshape(shape)
      offset += size
    if offset != len(body):
      raise ValueError(f"{len(body)} bytes of arrays, {offset} expected")
    metadata = header["metadata"] | {"rare_events": tuple(header["metadata"]["rare_events"])}
    return schema.from_arrays(Metadata(**metadata), values)
  except (ValueError, KeyError, TypeError) as error:
    raise BadInput(f"scene record does not decode ({error})", where, "build the dataset again") from None
