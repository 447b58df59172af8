"""A trajectory distribution that is known: turn left with weight 0.3, right with 0.7; and a small network."""

import jax
import jax.numpy as jnp
import optax

POINTS, LEFT, SPREAD = 4, 0.3, 0.1
_STEPS, _BATCH, _FREQUENCIES = 3000, 512, 3


def draw(key, batch: int):
  """Trajectories [B, F, 2] of unit scale: ahead in x, curving to y = +1 (left) or -1 (right)."""
  side_key, noise_key = jax.random.split(key)
  side = jnp.where(jax.random.uniform(side_key, (batch, 1)) < LEFT, 1.0, -1.0)
  clean = jnp.where(side[..., None] > 0, *centres()[:, None])
  return clean + SPREAD * jax.random.normal(noise_key, clean.shape)


def centres():
  """[2, F, 2]: the left mode, the right one."""
  ahead = jnp.linspace(0.25, 1.0, POINTS)
  return jnp.stack([jnp.stack([ahead, side * ahead**2], -1) for side in (1.0, -1.0)])


def init(key, hidden: int):
  sizes = (2 * POINTS + 1 + 2 * _FREQUENCIES, hidden, hidden, 2 * POINTS)
  keys = jax.random.split(key, len(sizes) - 1)
  return [
    {"w": jax.random.normal(k, (a, b)) * a**-0.5, "b": jnp.zeros(b)}
    for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
  ]


def apply(variables, batch, x, time_B):
  del batch
  angle = time_B[:, None] * (jnp.pi * 2.0 ** jnp.arange(_FREQUENCIES))[None]
  y = jnp.concatenate([x.reshape(len(x), -1), time_B[:, None], jnp.sin(angle), jnp.cos(angle)], -1)
  for i, layer in enumerate(variables["params"]):
    y = (jax.nn.silu(y) if i else y) @ layer["w"] + layer["b"][None]
  return y.reshape(x.shape)


def train(make_loss, key, hidden: int):
  """Parameters after a few seconds of Adam on fresh draws: two layers of so many hidden units."""
  loss_fn = make_loss(apply, lambda batch: (batch["x"], jnp.ones(batch["x"].shape[:2], bool)))
  tx = optax.adam(optax.cosine_decay_schedule(1e-2, _STEPS))

  def objective(params, step_key):
    draw_key, loss_key = jax.random.split(step_key)
    batch = {
      "x": draw(draw_key, _BATCH),
      "domain_B": jnp.zeros(_BATCH, jnp.int32),
      "real_B": jnp.ones(_BATCH, bool),
    }
    total, count = loss_fn(params, batch, loss_key)["objective"]
    return total / count

  def step(state, step_key):
    params, opt = state
    updates, opt = tx.update(jax.grad(objective)(params, step_key), opt)
    return (optax.apply_updates(params, updates), opt), None

  params = init(key, hidden)
  keys = jax.random.split(key, _STEPS)
  return jax.lax.scan(step, (params, tx.init(params)), keys)[0][0]


def train_seeds(make_loss, seeds: int, hidden: int):
  """`train` of seeds 0, 1, ..., along a first axis of the parameters."""
  keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
  # Unlike most programs of tests this one runs for longer than it compiles.
  optimised = {"xla_backend_optimization_level": 3}
  return jax.jit(jax.vmap(lambda key: train(make_loss, key, hidden)), compiler_options=optimised)(keys)


def answer(params):
  """(x, time_B) -> what the network says of them."""
  return lambda x, time_B: apply({"params": params}, None, x, time_B)


def modes(samples):
  """(weight of the left mode, share within 4 spreads of either mode's centre line)."""
  centre = jnp.where(samples[:, -1:, 1:] > 0, *centres()[:, None])
  near = jnp.linalg.norm(samples - centre, axis=-1).max(-1) < 4 * SPREAD
  return float((samples[:, -1, 1] > 0).mean()), float(near.mean())
