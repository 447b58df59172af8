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
  ("act_embed", None),
  ("features", None),
  ("embed", "fsdp"),
  ("heads", "tensor"),
  ("head_dim", None),
  ("mlp", "tensor"),
  ("vocab", "tensor"),
  ("table", None),  # rows are gathered: splitting their width would cost an all-to-all per lookup
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


def batch_sharding(name: str, mesh: Mesh) -> NamedSharding:
  """The placement of a batch array, read off its name: tokens_BxTxA is split over B and T."""
  axes = re.split("x", name.rpartition("_")[2])
  return NamedSharding(mesh, PartitionSpec(*(_BATCH_AXES.get(axis) for axis in axes)))


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """Host arrays (this process's share of the batch) to global arrays on the mesh."""
  if mesh.size == 1:
    return _onto_one(mesh, tuple(batch))(batch)
  sharding = {name: batch_sharding(name, mesh) for name in batch}
  if jax.process_count() == 1:
    return jax.device_put(batch, sharding)
  return {
    name: jax.make_array_from_process_local_data(sharding[name], value) for name, value in batch.items()
  }


@functools.lru_cache
def _onto_one(mesh: Mesh, names: tuple[str, ...]) -> Callable:
  """A compiled identity: it takes host arrays in a tenth of the time that device_put needs for the same."""
  return jax.jit(lambda batch: batch, out_shardings={name: batch_sharding(name, mesh) for name in names})


def state_sharding(abstract_state, mesh: Mesh):
  """Shardings of a boxed abstract state (parameters annotated with logical axes), leaf by leaf."""
  return nn.logical_to_mesh_sharding(nn.get_partition_spec(abstract_state), mesh, RULES)
