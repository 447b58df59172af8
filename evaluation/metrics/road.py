"""The road under a vehicle: drivable area, direction of its lanes, their centrelines and stop lines.

A road is a set of segments of lane centrelines (data/schema.py). A lane covers what lies within half its width of its
centreline, its ends rounded; the drivable area is the union of the lanes that cars may use and of the turning paths
inside junctions, each of these a little wider than it is, because the gaps between them are asphalt too. With d_s the
distance of a point to segment s and r_s its half width,

  edge_distance = min_s (d_s - r_s):

negative on the drivable area; outside of it the exact distance to its edge, inside a bound (where lanes overlap the
edge is at least that far). Without lanes nothing is drivable, and it is infinite.

All functions take points or poses [T, ...] and are pure jax.numpy; `make_road` and `make_stop_lines` are NumPy.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data.errors import BadInput
from data.schema import Lanes, LaneType, Signal

Array = Any  # numpy as it is made, jax.numpy under jit

DRIVABLE = (LaneType.ROAD, LaneType.RAMP, LaneType.JUNCTION, LaneType.OTHER)
JUNCTION_MARGIN = 0.5  # m by which a turning path is wider on both sides


class Road(NamedTuple):
  """Segments of lanes; those beyond the last have mask False and mean nothing.

  Attributes:
    start_Sx2, step_Sx2: float32 m, from each segment's first point to its second, in driving direction.
    half_width_S: float32 m. lane_S: int32, segments of a lane share it, in [0, S). junction_S: bool, inside one.
    mask_S: bool.
  """

  start_Sx2: Array
  step_Sx2: Array
  half_width_S: Array
  lane_S: Array
  junction_S: Array
  mask_S: Array


class StopLines(NamedTuple):
  """Signalled lines across a route. place_Qx2: float32 m, middle. direction_Qx2: unit, in which traffic crosses.
  half_width_Q: float32 m. red_TxQ: bool. mask_Q: bool."""

  place_Qx2: Array
  direction_Qx2: Array
  half_width_Q: Array
  red_TxQ: Array
  mask_Q: Array


def make_road(lanes: Lanes, size: int, low_2: np.ndarray, high_2: np.ndarray) -> Road:
  """Drivable segments that touch the area from `low_2` to `high_2` m, padded to `size`.

  Raises BadInput when there are more.
  """
  owner = np.repeat(np.arange(len(lanes)), np.diff(lanes.splits))
  xy = lanes.xy_Nx2.astype(np.float64)
  start, end, lane = xy[:-1], xy[1:], owner[:-1]
  reach = 0.5 * lanes.width_L[lane].astype(np.float64) + JUNCTION_MARGIN
  chosen = (owner[1:] == lane) & np.isin(lanes.type_L[lane], DRIVABLE) & (start != end).any(-1)
  chosen &= (np.maximum(start, end) + reach[:, None] >= low_2).all(-1)
  chosen &= (np.minimum(start, end) - reach[:, None] <= high_2).all(-1)
  count = int(chosen.sum())
  if count > size:
    raise BadInput(f"{count} lane segments exceed the {size} of a road", "the map", "make the area smaller")
  junction = lanes.type_L[lane] == LaneType.JUNCTION
  half_width = 0.5 * lanes.width_L[lane] + np.where(junction, JUNCTION_MARGIN, 0.0)
  number = np.unique(lane[chosen], return_inverse=True)[1]
  values = start[chosen], (end - start)[chosen], half_width[chosen], number, junction[chosen], np.ones(count)
  types = (np.float32,) * 3 + (np.int32, np.bool_, np.bool_)
  padded = (_padded(value.astype(kind), size) for value, kind in zip(values, types, strict=True))
  return Road(*padded)


def make_stop_lines(lanes: Lanes, path_lanes: np.ndarray, signal_TxL: np.ndarray, size: int) -> StopLines:
  """Lines at the first point of every signalled turning path of a route `path_lanes` [k], padded to `size`.

  A turning path shows the signal of its own movement; the lane before it only that of its straightest one.
  Raises BadInput when there are more.
  """
  path = np.asarray(path_lanes, np.int64)
  path = path[lanes.type_L[path] == LaneType.JUNCTION]
  path = path[(signal_TxL[:, path] != Signal.NONE).any(0)]
  if len(path) > size:
    raise BadInput(f"{len(path)} signalled paths exceed the {size} allowed", "the route", "shorten it")
  first = lanes.splits[path]
  step = (lanes.xy_Nx2[first + 1] - lanes.xy_Nx2[first]).astype(np.float64)
  direction = step / np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-9)[:, None]
  red = np.zeros((len(signal_TxL), size), np.bool_)
  red[:, : len(path)] = signal_TxL[:, path] == Signal.RED
  half_width = 0.5 * lanes.width_L[path] + JUNCTION_MARGIN
  place = _padded(lanes.xy_Nx2[first], size), _padded(direction.astype(np.float32), size)
  return StopLines(*place, _padded(half_width.astype(np.float32), size), red, np.arange(size) < len(path))


def _padded(value: np.ndarray, size: int) -> np.ndarray:
  return np.concatenate([value, np.zeros((size - len(value), *value.shape[1:]), value.dtype)])


def lateral(points: jax.Array, road: Road) -> jax.Array:
  """[..., S] m from points [..., 2] to the centreline segments, infinite for those that do not exist."""
  x, y = (points[..., i].reshape(-1, 1) - road.start_Sx2[None, :, i] for i in (0, 1))
  ahead, left = road.step_Sx2[None, :, 0], road.step_Sx2[None, :, 1]
  squared = ahead**2 + left**2
  share = jnp.clip((x * ahead + y * left) / jnp.where(squared > 0, squared, 1.0), 0, 1)
  away = jnp.sqrt((x - share * ahead) ** 2 + (y - share * left) ** 2)
  return jnp.where(road.mask_S[None], away, jnp.inf).reshape(*points.shape[:-1], -1)


def edge_distance(lateral_S: jax.Array, road: Road) -> jax.Array:
  """[...] m to the edge of the drivable area, negative on it, from `lateral` [..., S]."""
  return _within(lateral_S, road).min(-1)


def straddles(corner_lateral_Tx4xS: jax.Array, road: Road) -> jax.Array:
  """bool [T]: the corners of a box lie on several lanes, and no lane holds all four."""
  on_Tx4xS = _within(corner_lateral_Tx4xS, road) <= 0
  none_LxTx4 = jnp.zeros((on_Tx4xS.shape[-1], *on_Tx4xS.shape[:-1]), jnp.int32)
  by_lane_LxTx4 = none_LxTx4.at[road.lane_S].max(jnp.moveaxis(on_Tx4xS, -1, 0).astype(jnp.int32)) > 0
  return (by_lane_LxTx4.any(-1).sum(0) > 1) & ~by_lane_LxTx4.all(-1).any(0)


def inside_junction(lateral_TxS: jax.Array, road: Road) -> jax.Array:
  """bool [T]: the point lies on a turning path."""
  return ((_within(lateral_TxS, road) <= 0) & road.junction_S[None]).any(-1)


def against_traffic(lateral_TxS: jax.Array, course_T: jax.Array, road: Road) -> jax.Array:
  """bool [T]: the point lies on the drivable area, but on no lane within 90 degrees of the course (rad)."""
  on_TxS = _within(lateral_TxS, road) <= 0
  return on_TxS.any(-1) & ~(on_TxS & _along(course_T, road)).any(-1)


def centreline_distance(lateral_TxS: jax.Array, course_T: jax.Array, road: Road) -> jax.Array:
  """[T] m to the nearest centreline within 90 degrees of the course; infinite without one."""
  return jnp.where(_along(course_T, road), lateral_TxS, jnp.inf).min(-1)


def red_crossings(front_Tx2: jax.Array, lines: StopLines) -> jax.Array:
  """bool [T, Q]: between the frame before and this one the front passed a line that was red at both."""
  offset = front_Tx2[:, None] - lines.place_Qx2[None]
  ahead_TxQ = (offset * lines.direction_Qx2[None]).sum(-1)
  left_TxQ = (
    lines.direction_Qx2[None, :, 0] * offset[..., 1] - lines.direction_Qx2[None, :, 1] * offset[..., 0]
  )
  passed = (ahead_TxQ[:-1] < 0) & (ahead_TxQ[1:] >= 0) & lines.red_TxQ[:-1] & lines.red_TxQ[1:]
  step = jnp.where(passed, ahead_TxQ[1:] - ahead_TxQ[:-1], 1.0)
  at = left_TxQ[1:] - (left_TxQ[1:] - left_TxQ[:-1]) * ahead_TxQ[1:] / step
  passed &= (jnp.abs(at) <= lines.half_width_Q[None]) & lines.mask_Q[None]
  return jnp.concatenate([jnp.zeros_like(passed[:1]), passed])


def _along(course_T: jax.Array, road: Road) -> jax.Array:
  """bool [T, S]: the segment points within 90 degrees of the course."""
  x_S, y_S = road.step_Sx2[None, :, 0], road.step_Sx2[None, :, 1]
  return jnp.cos(course_T)[:, None] * x_S + jnp.sin(course_T)[:, None] * y_S > 0


def _within(lateral_S: jax.Array, road: Road) -> jax.Array:
  """[..., S] m beyond the edge of each lane; negative on it."""
  return lateral_S - road.half_width_S.reshape((1,) * (lateral_S.ndim - 1) + (-1,))
