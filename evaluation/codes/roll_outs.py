"""Roll-outs of a world model of codes, some windows at a time: what it writes, and what the logged frames cost it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from models.codes import CodesModel, roll_out

CHUNK = 16  # windows rolled out at once: one compiled shape


def make_predict(model: CodesModel, observed: int, samples: int) -> Callable:
  """predict(params, codes [N, T, S], actions [N, T], key) -> (likeliest codes [N, K, S], nats per code [N, K] of the
  logged frames), of up to CHUNK windows."""

  @jax.jit
  def likeliest(params, codes, actions):
    return roll_out(model, params, codes, actions, observed, jax.random.key(0), temperature=0.0)[:, observed:]

  @jax.jit
  def log_probability(params, codes, actions, key):
    """[B, K]: of each logged frame after the frames that one sampled roll-out wrote."""
    variables, written = {"params": params}, roll_out(model, params, codes, actions, observed, key)
    said = model.apply(variables, written, actions, method="look_back")
    context = model.apply(variables, said, method="ahead")
    logs = jax.nn.log_softmax(model.apply(variables, context, codes, actions, method="read")[:, observed:])
    return jnp.take_along_axis(logs, codes[:, observed:, :, None], axis=-1)[..., 0].sum(-1)

  def predict(params, codes_NxTxS, actions_NxT, key) -> tuple[np.ndarray, np.ndarray]:
    count, rows = len(codes_NxTxS), filled(len(codes_NxTxS))
    inputs = jnp.asarray(codes_NxTxS[rows], jnp.int32), jnp.asarray(actions_NxT[rows], jnp.int32)
    keys = [jax.random.fold_in(key, m) for m in range(samples)]
    drawn = np.stack([log_probability(params, *inputs, one) for one in keys])
    logs = np.asarray(jax.nn.logsumexp(drawn, axis=0)) - np.log(samples)
    made = np.asarray(likeliest(params, *inputs))
    return made[:count], -logs[:count] / codes_NxTxS.shape[2]

  return predict


def filled(count: int) -> np.ndarray:
  """CHUNK rows of so many: the last one fills them up, as there is one compiled shape."""
  return np.arange(CHUNK).clip(max=count - 1)
