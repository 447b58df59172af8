"""The device mesh, and the one table from logical axes to mesh axes."""

import functools
import re
from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from data.errors import BadInput

AXES = ("data", "fsdp", "tensor", "sequence")

# Weights and activations have their own names, or the FSDP axis would leak into the residual stream.
RULES = (
  ("batch", ("data", "fsdp")),
  ("time", "sequence"),
  ("agents", None),
  ("space", None),
  ("act_embed", None),
  ("features", None),
  ("embed", "fsdp"),
  ("heads", "tensor"),
  ("head_dim", None),
  ("mlp", "tensor"),
  ("vocab", "tensor"),
  ("table", None),  # rows are gathered: splitting their width would cost an all-to-all per lookup
  ("state", None),  # of a recurrence
  ("norm", None),
  ("layers", None),
)
_BATCH_AXES = {"B": ("data", "fsdp"), "T": "sequence"}


def make_mesh(data: int, fsdp: int, tensor: int, sequence: int, devices: list | None = None) -> Mesh:
  """A mesh over exactly the given devices (all, when None); a wrong product raises BadInput."""
  devices = jax.devices() if devices is None else devices
  shape = (data, fsdp, tensor, sequence)
  if int(np.prod(shape)) != len(devices):
    raise BadInput(
      f"mesh {dict(zip(AXES, shape, strict=True))} does not cover the {len(devices)} devices here",
      "config.mesh",
      "make the product of the axes equal to the device count",
    )
  # Auto: Linen's layers leave sharding to the compiler; jax's newer default would ask for it by hand.
  return Mesh(np.asarray(devices).reshape(shape), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def make_key(seed: int, mesh: Mesh) -> jax.Array:
  """A typed key, whole on every device; made in a jit, as no process could place it on another's devices."""
  return jax.jit(jax.random.key, out_shardings=NamedSharding(mesh, PartitionSpec()))(seed)


def batch_sharding(name: str, mesh: Mesh) -> NamedSharding:
  """The placement of a batch array, read off its name: tokens_BxTxA is split over B and T."""
  axes = re.split("x", name.rpartition("_")[2])
  return NamedSharding(mesh, PartitionSpec(*(_BATCH_AXES.get(axis) for axis in axes)))


@functools.lru_cache(1)
def batch_share(mesh: Mesh) -> tuple[int, int]:
  """(index, count): this process feeds part `index` of the `count` equal parts of a batch.

  Processes that hold the same rows, and split the model or the time between them, feed the same part. Raises
  BadInput when two processes hold only some rows in common, or one holds more than another.
  """
  rows = mesh.shape["data"] * mesh.shape["fsdp"]
  held: dict[int, set[int]] = {}
  for row, devices in enumerate(mesh.devices.reshape(rows, -1)):
    for device in devices:
      held.setdefault(device.process_index, set()).add(row)
  parts = sorted({tuple(sorted(mine)) for mine in held.values()})
  if sorted(row for part in parts for row in part) != list(range(rows)) or len({*map(len, parts)}) > 1:
    raise BadInput(
      f"the {len(held)} processes hold overlapping or unequal parts of the batch",
      "config.mesh",
      "let tensor x sequence divide, or be a multiple of, the devices of a process",
    )
  return parts.index(tuple(sorted(held[jax.process_index()]))), len(parts)


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """Host arrays (this process's part of the batch, see `batch_share`) to global arrays on the mesh."""
  if mesh.size == 1:
    return _onto_one(mesh, tuple(batch))(batch)
  sharding = {name: batch_sharding(name, mesh) for name in batch}
  if jax.process_count() == 1:
    return jax.device_put(batch, sharding)
  _, parts = batch_share(mesh)
  return {
    name: jax.make_array_from_process_local_data(
      sharding[name], value, (parts * len(value), *value.shape[1:])
    )
    for name, value in batch.items()
  }


@functools.lru_cache
def _onto_one(mesh: Mesh, names: tuple[str, ...]) -> Callable:
  """A compiled identity: it takes host arrays in a tenth of the time that device_put needs for the same."""
  return jax.jit(lambda batch: batch, out_shardings={name: batch_sharding(name, mesh) for name in names})


def state_sharding(abstract_state, mesh: Mesh):
  """Shardings of a boxed abstract state (parameters annotated with logical axes), leaf by leaf."""
  return nn.logical_to_mesh_sharding(nn.get_partition_spec(abstract_state), mesh, RULES)


def whole_unless_even(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
  """The leaf as it is placed; whole on every device where its mesh cannot cut it evenly."""
  sharding = leaf.sharding
  assert isinstance(sharding, NamedSharding)
  try:
    sharding.shard_shape(leaf.shape)
  except ValueError:
    return jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=NamedSharding(sharding.mesh, PartitionSpec())
    )
  return leaf


def require_fit(spec, batch: dict[str, np.ndarray], accumulate: int, mesh: Mesh) -> None:
  """Raises BadInput that names the array when the mesh cannot cut the state or a micro-batch evenly.

  Args:
    spec: state of jax.ShapeDtypeStruct with shardings. batch: all of it, on the host.
    accumulate: micro-batches that the batch is cut into first.
  """
  leaves = jax.tree_util.tree_leaves_with_path(spec["params"])
  cuts = [(jax.tree_util.keystr(path), leaf.shape, leaf.sharding) for path, leaf in leaves]
  for name, value in batch.items():
    if len(value) % accumulate:
      what = f"a batch of {len(value)} windows has no {accumulate} equal micro-batches"
      raise BadInput(what, "config.optimizer.accumulate", "change it, or data.batch_windows")
    cuts.append((name, (len(value) // accumulate, *value.shape[1:]), batch_sharding(name, mesh)))
  for name, shape, sharding in cuts:
    try:
      sharding.shard_shape(shape)
    except ValueError:
      axes = ", ".join(f"{axis}={size}" for axis, size in mesh.shape.items())
      what = (
        f"{name} of shape {list(shape)} cannot be cut evenly as {tuple(sharding.spec)} on a mesh of {axes}"
      )
      raise BadInput(what, "config.mesh", "choose axes that divide it, or another size") from None
