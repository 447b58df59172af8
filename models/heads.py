"""Heads on the tokens of a trunk: what is around, where it will be, and where to go.

Queries read the tokens of their own step (models/reading.py), so that heads work with any sensors; what happened
before is in the tokens. A query is a patch of the grid, an element to be found, an agent's box, or the ego.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.heads_config import CELL_HEADS, HeadsConfig
from models.layers import weight
from models.reading import Read, linear
from models.sensors import unpatch

STRIDE_M = 5.0  # an answer of one moves another agent so far in a step
STRAY_M = 1.0  # and the ego, in a step, from going straight on at the speed that it has
HEIGHT_M = 3.0
HEAT_PRIOR = -4.0  # logit: hardly a cell holds the centre of an agent (T.-Y. Lin et al., arXiv:1708.02002)
MODES_APART = 0.05  # of what modes and elements answer at first: equal ones would stay equal
NEAR_M = 2.0  # what a tracked agent may be off from where it was expected, before anything is learned


class Heads(nn.Module):
  """apply({"params": p}, x_BxTxSxD, valid_BxTxS, batch) -> answers by name, all float32.

  batch: "boxes_BxTxKx7", "present_BxTxK", "class_BxTxK", read by heads that are asked at boxes alone; "ego_BxTxS",
  whose first entry is the speed in m/s, by heads that are asked once a step.

  segmentation: cells_BxTxHxWxV. occupancy: later_BxTxJxHxWxV. detection: heat_BxTxHxWxC, box_BxTxHxWx8.
  elements: element_points_BxTxQxPx2, element_logits_BxTxQxV. forecasting: forecast_{mean,scale}_BxTxKxNxFx2 in the
  ego frame and forecast_logits_BxTxKxN. tracking: affinity_BxTxKxJ. plan: plan_{mean,scale}_BxTxNxFx2,
  plan_logits_BxTxN. actions: actions_BxTxFxV. log_variance_I: learned weights. Scales are raw
  (objectives/imitation.py).
  """

  config: HeadsConfig

  @nn.compact
  def __call__(self, x_BxTxSxD, valid_BxTxS, batch):
    c = self.config
    answers: dict[str, jax.Array] = {}
    b, t, s, d = x_BxTxSxD.shape
    x, valid = x_BxTxSxD.reshape(b * t, s, d), valid_BxTxS.reshape(b * t, s)

    def read(kind, queries):
      return Read(c.read, name=f"{kind}_read")(queries, x, valid).reshape(b, t, -1, c.read.width)

    def learned(kind):
      place = weight(self, f"{kind}_place", (c.queries[kind], c.read.width), (None, "table"), 1)
      queries = jnp.broadcast_to(place[None], (b * t, *place.shape))
      if kind == "ego":  # what it asks depends on how it moves, as a box's on the box
        state = batch["ego_BxTxS"].reshape(b * t, 1, -1) / jnp.asarray(c.ego_scales)[None, None]
        queries = queries + linear(
          self, "ego_state_stem", state, c.read.width, len(c.ego_scales) ** -0.5, 0.0
        )
      return read(kind, queries)

    asked = {kind: learned(kind) for kind in c.queries if kind != "agents"}
    if "agents" in c.queries:
      asked["agents"] = read("agents", self._agents(batch, asked["cells"]).reshape(b * t, -1, c.read.width))
    said = {
      name: linear(self, name, asked[c.kind(name)], n, 1 / c.read.width, MODES_APART)
      for name, n in c.outputs.items()
    }
    size = (c.grid.cells, c.grid.cells)
    for name in set(said) & set(CELL_HEADS):
      said[name] = unpatch(said[name], size, c.grid.patch, 1)
    for name, value in said.items():
      answers |= getattr(self, f"_{name}")(value, batch)
    if c.learned:
      zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("norm",))
      answers["log_variance_I"] = self.param("log_variance_bias", zeros, (c.learned,), jnp.float32)
    return answers

  def _agents(self, batch, cells_BxTxGxD):
    """A query of each box: its numbers, and what the patch under its centre has read."""
    c, boxes = self.config, jnp.where(batch["present_BxTxK"][..., None], batch["boxes_BxTxKx7"], 0)
    size = jnp.log(jnp.maximum(boxes[..., 3:6], 0.1))
    yaw = boxes[..., 6:]
    kind = jax.nn.one_hot(batch["class_BxTxK"], c.box_classes)
    place = [boxes[..., :2] / c.grid.half_m, boxes[..., 2:3] / HEIGHT_M]
    parts = [*place, size, jnp.sin(yaw), jnp.cos(yaw), kind]
    numbers = jnp.concatenate(parts, -1)
    query = linear(self, "box_stem", numbers, c.read.width, numbers.shape[-1] ** -0.5, 0.0)
    edge = c.grid.cells // c.grid.patch
    corner = jnp.asarray(c.grid.corner_m)[None, None, None]
    patch = jnp.floor((boxes[..., :2] + corner) / (c.grid.cell_m * c.grid.patch)).astype(jnp.int32)
    patch = jnp.clip(patch, 0, edge - 1)
    index = patch[..., 0] * edge + patch[..., 1]
    return query + jnp.take_along_axis(cells_BxTxGxD, index[..., None], axis=2)

  def _segmentation(self, said, batch):
    return {"cells_BxTxHxWxV": said}

  def _occupancy(self, said, batch):
    later = said.reshape(*said.shape[:-1], self.config.ahead, self.config.cell_classes)
    return {"later_BxTxJxHxWxV": later.transpose(0, 1, 4, 2, 3, 5)}

  def _detection(self, said, batch):
    heat, box = jnp.split(said, [self.config.box_classes], -1)
    return {"heat_BxTxHxWxC": heat + HEAT_PRIOR, "box_BxTxHxWx8": box}

  def _elements(self, said, batch):
    c = self.config
    points, logits = jnp.split(said, [2 * c.element_points], -1)
    points = points.reshape(*said.shape[:-1], c.element_points, 2) * c.grid.cells * c.grid.cell_m / 2
    return {"element_points_BxTxQxPx2": points, "element_logits_BxTxQxV": logits}

  def _mixture(self, said):
    """(mean, raw scale [..., N, F, 2], logits [..., N]): means are sums of steps."""
    c = self.config
    numbers, logits = jnp.split(said, [c.modes * 4 * c.futures], -1)
    numbers = numbers.reshape(*said.shape[:-1], c.modes, c.futures, 4)
    return jnp.cumsum(numbers[..., :2], -2), numbers[..., 2:], logits

  def _forecasting(self, said, batch):
    mean, scale, logits = self._mixture(said)
    boxes = jnp.where(batch["present_BxTxK"][..., None], batch["boxes_BxTxKx7"], 0)[..., None, None, :]
    cos, sin = jnp.cos(boxes[..., 6]), jnp.sin(boxes[..., 6])
    x, y = STRIDE_M * mean[..., 0], STRIDE_M * mean[..., 1]
    turned = jnp.stack([cos * x - sin * y, sin * x + cos * y], -1) + boxes[..., :2]
    return {
      "forecast_mean_BxTxKxNxFx2": turned,
      "forecast_scale_BxTxKxNxFx2": scale,
      "forecast_logits_BxTxKxN": logits,
    }

  def _tracking(self, said, batch):
    """Affinity: a product of features, less the squared miss of where the agent is expected next."""
    width, boxes = self.config.read.width, batch["boxes_BxTxKx7"]
    q, k, gone, move = jnp.split(said, [width, 2 * width, 2 * width + 1], -1)
    zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("norm",))
    spread = NEAR_M * jnp.exp(self.param("tracking_spread_scale", zeros, (1,), jnp.float32))
    centre = jnp.where(batch["present_BxTxK"][..., None], boxes[..., :2], 0)
    expected = centre + STRIDE_M * move
    miss = ((expected[:, :-1, :, None] - centre[:, 1:, None]) ** 2).sum(-1)
    alike = jnp.einsum("btkd,btjd->btkj", q[:, :-1], k[:, 1:]) * width**-0.5
    affinity = alike - miss / (2 * spread**2)[None, None, None]
    return {"affinity_BxTxKxJ": jnp.concatenate([affinity, gone[:, :-1]], -1)}

  def _plan(self, said, batch):
    mean, scale, logits = self._mixture(said[:, :, 0])
    straight = straight_on(batch["ego_BxTxS"], self.config.futures, self.config.step_seconds)
    mean = STRAY_M * mean + straight[:, :, None]
    return {"plan_mean_BxTxNxFx2": mean, "plan_scale_BxTxNxFx2": scale, "plan_logits_BxTxN": logits}

  def _actions(self, said, batch):
    return {"actions_BxTxFxV": said[:, :, 0].reshape(*said.shape[:2], self.config.futures, self.config.moves)}


def straight_on(ego_BxTxS: jax.Array, futures: int, step_seconds: float) -> jax.Array:
  """[B, T, F, 2] m: the ego straight ahead at the speed that it has, its state's first entry in m/s."""
  seconds_F = step_seconds * jnp.arange(1, futures + 1)
  x = ego_BxTxS[..., :1] * seconds_F[None, None]
  return jnp.stack([x, jnp.zeros_like(x)], -1)
