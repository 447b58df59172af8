"""Scenes and windows as bytes: raw arrays in a known order, nothing executable, nothing pickled."""

import dataclasses
import json
import math

import numpy as np

from data import schema
from data.errors import BadInput
from data.schema import Metadata, Scene

Spec = dict[str, tuple[tuple[int, ...], type]]


def encode_window(window: dict[str, np.ndarray], spec: Spec) -> bytes:
  """Arrays back to back in the order of `spec`."""
  parts = []
  for name, (shape, dtype) in spec.items():
    value = np.asarray(window[name], dtype, order="C")
    if value.shape != shape:
      raise ValueError(f"{name} has shape {value.shape}, the spec says {shape}")
    parts.append(value.tobytes())
  return b"".join(parts)


def layout(spec: Spec) -> dict[str, tuple[int, int, tuple[int, ...], np.dtype]]:
  """Name to (offset, bytes, shape, dtype) within an encoded window."""
  places, offset = {}, 0
  for name, (shape, kind) in spec.items():
    dtype = np.dtype(kind)
    size = math.prod(shape) * dtype.itemsize
    places[name] = (offset, size, shape, dtype)
    offset += size
  return places


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
