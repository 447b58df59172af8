"""Heads on the tokens of a trunk: what is around, where it will be, and where to go.

Queries read the tokens of their own step (models/reading.py), so that heads work with any sensors; what happened
before is in the tokens. A query is a patch of the grid, an element to be found, an agent's box, an agent's box with
how it has moved, or the ego. Those that have a place read what is near them first.

Trajectories are answered as they differ from going on as before: of the ego with its acceleration and yaw rate, of
another agent with the velocity that it has had for a step. Offsets from anchors: Y. Chai et al., "MultiPath",
arXiv:1910.05449.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from models import geometry
from models.heads_config import BOXED, CELL_HEADS, JUDGED, HeadsConfig
from models.layers import weight
from models.reading import Read, linear
from models.sensors import unpatch

STRIDE_M = 5.0  # an answer of one moves an agent of unknown velocity so far in a step
STRAY_M = 1.0  # and one whose velocity is known, and the ego, from where they would go on to
FAST_MS = 10.0  # m/s: velocities are told in this unit
HEIGHT_M = 3.0  # of what drives
LEAST_SIZE_M = 0.1  # of a box, before its logarithm
HEAT_PRIOR = -4.0  # logit: hardly a cell holds the centre of an agent (T.-Y. Lin et al., arXiv:1708.02002)
MODES_APART = 0.05  # of what modes and elements answer at first: equal ones would stay equal
NEAR_M = 2.0  # what a tracked agent may be off from where it was expected, before anything is learned


class Heads(nn.Module):
  """apply({"params": p}, x_BxTxSxD, valid_BxTxS, place_Sx2, batch) -> answers by name, all float32.

  place_Sx2: where the tokens are, m; NaN for those of no place. batch: "ego_BxTxS" (models/geometry.py);
  "boxes_BxTxKx7", "present_BxTxK", "class_BxTxK", read by heads that are asked at boxes alone; "agent_BxTxK", by
  forecasting alone: it is asked of agents that have been tracked up to its step. Tracking alone is shown the
  next step, its boxes and ego state: it says which box there is which one here.

  segmentation: cells_BxTxHxWxV. occupancy: later_BxTxJxHxWxV. detection: heat_BxTxHxWxC, box_BxTxHxWx8.
  elements: element_points_BxTxQxPx2, element_logits_BxTxQxV. forecasting: forecast_{mean,scale}_BxTxKxNxFx2 in the
  ego frame and forecast_logits_BxTxKxN. tracking: affinity_BxTxKxJ. plan: plan_{mean,scale}_BxTxNxFx2,
  plan_logits_BxTxN. actions: actions_BxTxFxV. forecast_spread: forecast_spread_BxTxKxF, plan_spread:
  plan_spread_BxTxF: how far the likeliest trajectory may miss (objectives/uncertainty.py); what they learn changes
  nothing else. log_variance_I: learned weights. Scales and spreads are raw (objectives/imitation.py).
  """

  config: HeadsConfig

  @nn.compact
  def __call__(self, x_BxTxSxD, valid_BxTxS, place_Sx2, batch):
    c = self.config
    answers: dict[str, jax.Array] = {}
    b, t, s, d = x_BxTxSxD.shape
    x, valid = x_BxTxSxD.reshape(b * t, s, d), valid_BxTxS.reshape(b * t, s)

    def read(kind, queries, place=None):
      """place: [B T or 1, Q, 2] m, where the queries are."""
      apart = None if place is None else geometry.apart(place, place_Sx2, c.grid.patch_m)
      answer = Read(c.read, name=f"{kind}_read")(queries, x, valid, apart)
      return answer.reshape(b, t, -1, c.read.width)

    centres = jnp.asarray(geometry.patch_centres(c.grid))[None]

    def learned(kind):
      place = weight(self, f"{kind}_place", (c.queries[kind], c.read.width), (None, "table"), 1)
      queries = jnp.broadcast_to(place[None], (b * t, *place.shape))
      if kind == "ego":  # what it asks depends on how it moves, as a box's on the box
        state = batch["ego_BxTxS"].reshape(b * t, 1, -1) / jnp.asarray(c.ego_scales)[None, None]
        queries = queries + linear(
          self, "ego_state_stem", state, c.read.width, len(c.ego_scales) ** -0.5, 0.0
        )
      return read(kind, queries, centres if kind == "cells" else None)

    asked = {kind: learned(kind) for kind in c.queries if kind not in BOXED}
    for kind in (kind for kind in c.queries if kind in BOXED):
      queries, place = self._agents(kind, batch, asked["cells"])
      asked[kind] = read(kind, queries.reshape(b * t, -1, c.read.width), place.reshape(b * t, -1, 2))
    said = {}
    for name, n in c.outputs.items():
      read_by = asked[c.kind(name)]
      if name in JUDGED:  # who judges an answer does not change it
        read_by = jax.lax.stop_gradient(read_by)
      said[name] = linear(self, name, read_by, n, 1 / c.read.width, MODES_APART)
    size = (c.grid.cells, c.grid.cells)
    for name in set(said) & set(CELL_HEADS):
      said[name] = unpatch(said[name], size, c.grid.patch, 1)
    for name, value in said.items():
      answers |= getattr(self, f"_{name}")(value, batch)
    if c.learned:
      zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("norm",))
      answers["log_variance_I"] = self.param("log_variance_bias", zeros, (c.learned,), jnp.float32)
    return answers

  def _boxes(self, batch):
    """Numbers of the boxes; zeros where there is none."""
    return jnp.where(batch["present_BxTxK"][..., None], batch["boxes_BxTxKx7"], 0)

  def _velocities(self, batch):
    """(velocity m/s, known) of models/geometry.py."""
    agents = self._boxes(batch)[..., :2], batch["agent_BxTxK"], batch["present_BxTxK"]
    return geometry.velocities(*agents, batch["ego_BxTxS"], self.config.step_seconds)

  def _agents(self, kind, batch, cells_BxTxGxD):
    """(a query of each box, its place): its numbers, and what the patch under its centre has read.

    Who is tracked is not told apart from who is not: a slot's velocity would give its match away.
    """
    c, boxes = self.config, self._boxes(batch)
    size = jnp.log(jnp.maximum(boxes[..., 3:6], LEAST_SIZE_M))
    yaw = boxes[..., 6:]
    what = jax.nn.one_hot(batch["class_BxTxK"], c.box_classes)
    parts = [
      boxes[..., :2] / c.grid.half_m,
      boxes[..., 2:3] / HEIGHT_M,
      size,
      jnp.sin(yaw),
      jnp.cos(yaw),
      what,
    ]
    if kind == "tracks":
      velocity, known = self._velocities(batch)
      parts += [geometry.turned(velocity, -boxes[..., 6]) / FAST_MS, known[..., None]]
    numbers = jnp.concatenate(parts, -1)
    query = linear(self, f"{kind}_stem", numbers, c.read.width, numbers.shape[-1] ** -0.5, 0.0)
    edge = c.grid.cells // c.grid.patch
    corner = jnp.asarray(c.grid.corner_m)[None, None, None]
    patch = jnp.floor((boxes[..., :2] + corner) / (c.grid.cell_m * c.grid.patch)).astype(jnp.int32)
    patch = jnp.clip(patch, 0, edge - 1)
    index = patch[..., 0] * edge + patch[..., 1]
    return query + jnp.take_along_axis(cells_BxTxGxD, index[..., None], axis=2), boxes[..., :2]

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
    boxes, (velocity, known) = self._boxes(batch), self._velocities(batch)
    unit = jnp.where(known, STRAY_M, STRIDE_M)[..., None, None, None]
    stray = geometry.turned(unit * mean, boxes[..., 6][..., None, None])
    expected = geometry.straight_on(boxes[..., :2], velocity, self.config.futures, self.config.step_seconds)
    return {
      "forecast_mean_BxTxKxNxFx2": expected[..., None, :, :] + stray,
      "forecast_scale_BxTxKxNxFx2": scale,
      "forecast_logits_BxTxKxN": logits,
    }

  def _tracking(self, said, batch):
    """Affinity: a product of features, less the squared miss of where the agent is expected, in the next frame."""
    width = self.config.read.width
    q, k, gone, move = jnp.split(said, [width, 2 * width, 2 * width + 1], -1)
    zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("norm",))
    spread = NEAR_M * jnp.exp(self.param("tracking_spread_scale", zeros, (1,), jnp.float32))
    centre = self._boxes(batch)[..., :2]
    rest = geometry.carried(centre, batch["ego_BxTxS"], self.config.step_seconds)
    expected = rest + STRIDE_M * move[:, :-1]
    miss = ((expected[:, :, :, None] - centre[:, 1:, None]) ** 2).sum(-1)
    alike = jnp.einsum("btkd,btjd->btkj", q[:, :-1], k[:, 1:]) * width**-0.5
    affinity = alike - miss / (2 * spread**2)[None, None, None]
    return {"affinity_BxTxKxJ": jnp.concatenate([affinity, gone[:, :-1]], -1)}

  def _plan(self, said, batch):
    mean, scale, logits = self._mixture(said[:, :, 0])
    ahead = geometry.going_on(batch["ego_BxTxS"], self.config.futures, self.config.step_seconds)
    mean = ahead[:, :, None] + STRAY_M * mean
    return {"plan_mean_BxTxNxFx2": mean, "plan_scale_BxTxNxFx2": scale, "plan_logits_BxTxN": logits}

  def _forecast_spread(self, said, batch):
    return {"forecast_spread_BxTxKxF": said}

  def _plan_spread(self, said, batch):
    return {"plan_spread_BxTxF": said[:, :, 0]}

  def _actions(self, said, batch):
    return {"actions_BxTxFxV": said[:, :, 0].reshape(*said.shape[:2], self.config.futures, self.config.moves)}
