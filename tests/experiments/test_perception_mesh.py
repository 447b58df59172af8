"""Trunks on meshes: the losses of a few steps equal those of one device, however weights and batches are cut."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import mesh as meshes
from models.perception import PerceptionModel
from tests.sensed import perception_config, sensor_batch

MESHES = {"data": (8, 1, 1, 1), "fsdp": (1, 8, 1, 1), "tensor": (4, 1, 2, 1)}


def _losses(mesh, count=3):
  """Pillars, attention in space and recurrence in time: a model that learns to say 1 everywhere."""
  config = perception_config("hybrid", ("ego", "lidar"), 1, state=4, chunk=2)
  model, batch = PerceptionModel(config), sensor_batch(config, batch=8)

  def loss(params, batch):
    x, valid = model.apply({"params": params}, batch)
    return jnp.where(valid, ((x - 1) ** 2).mean(-1), 0).sum() / valid.sum()

  def descend(params, batch):
    value, gradient = jax.value_and_grad(loss)(params, batch)
    return jax.tree.map(lambda p, g: p - 0.2 * g, params, gradient), value

  with jax.set_mesh(mesh), nn.logical_axis_rules(meshes.RULES):
    placed = meshes.state_sharding(jax.eval_shape(model.init, jax.random.key(0), batch), mesh)["params"]
    init = jax.jit(lambda key: nn.unbox(model.init(key, batch)["params"]), out_shardings=placed)
    params = init(meshes.make_key(0, mesh))
    step, batch, losses = jax.jit(descend, out_shardings=(placed, None)), meshes.put_batch(batch, mesh), []
    for _ in range(count):
      params, value = step(params, batch)
      losses.append(float(value))
  return np.array(losses), params


@pytest.fixture(scope="module")
def one_device():
  return _losses(meshes.make_mesh(1, 1, 1, 1, jax.devices()[:1]))[0]


@pytest.mark.parametrize("name", MESHES)
def test_every_mesh_is_one_device(name, one_device):
  losses, params = _losses(meshes.make_mesh(*MESHES[name]))
  np.testing.assert_allclose(losses, one_device, rtol=1e-5)
  assert one_device[-1] < one_device[0] - 0.1, "the loss does not fall: the comparison shows nothing"
  unit = params["trunk"]["unit_0"]
  if name == "fsdp":
    assert unit["space"]["mlp"]["up"].sharding.spec[0] == "fsdp"
  if name == "tensor":
    assert unit["time"]["state_space"]["value"].sharding.spec[1] == "tensor"
