"""Driving score of an episode: sub-scores, and their composites in the forms of PDMS and EPDMS.

  PDMS  = NC DAC (5 TTC + 5 EP + 2 C) / 12
  EPDMS = NC DAC DDC TLC (5 EP + 5 TTC + 2 LK + 2 HC + 2 EC) / 16, each sub-score 1 where the human driver's is 0

(D. Dauner et al., "NAVSIM", NeurIPS 2024, arXiv:2406.15349; its second version: W. Cao et al., CoRL 2025,
arXiv:2506.04218). The sub-scores, in their order here:

  no_at_fault_collision NC    0 with an event that is the ego's fault (contacts.py), 1/2 if only with what cannot move
  drivable_area         DAC   0 if a corner is ever more than 0.3 m off the drivable area (road.py)
  driving_direction     DDC   1, 1/2, 0: less than 2 m, 6 m, or more driven against traffic within a second
  traffic_light         TLC   0 if the front passes a red stop line of the route
  progress              EP    progress along the route (progress.py) over the reference driver's, in [0, 1]; 1 where
                              the reference makes less than 5 m
  time_to_collision     TTC   0 if it ever falls below 0.95 s (time_to_collision.py) to somebody the ego must heed:
                              ahead within 30 degrees, or not behind while the ego straddles lanes, is off the road or
                              in a junction; a standing ego and agents it has touched before do not count
  lane_keeping          LK    0 if 2 s long more than 0.5 m off the nearest centreline of the ego's direction; frames in
                              a junction end such a stretch
  comfort               C, HC 1 if all six bounds of comfort.py are kept; defined at 10 Hz, from 19 frames on
  extended_comfort      EC    1 if consecutive plans agree (`comfort.consistent`), given by who has the plans

Unlike NAVSIM's 4 s of recorded traffic, an episode may be of any length and its traffic may react: the form is that of
PDMS and EPDMS, the number is not comparable with theirs.

What cannot be measured is undefined, never 0: a sub-score that is not defined takes no part, as a factor or as a
weighted term, and `defined_M` says so. A NaN or infinity in a frame that counts makes every sub-score NaN.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from evaluation.metrics import boxes, comfort, contacts, progress, road, time_to_collision

Array = Any  # numpy as it is recorded, jax.numpy under jit

SUB_SCORES = (
  "no_at_fault_collision", "drivable_area", "driving_direction", "traffic_light", "progress", "time_to_collision",
  "lane_keeping", "comfort", "extended_comfort",
)  # fmt: skip
# By sub-score: whether it is a factor, and its weight in the mean.
PDMS = ((1, 1, 0, 0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 5, 5, 0, 2, 0))
EPDMS = ((1, 1, 1, 1, 0, 0, 0, 0, 0), (0, 0, 0, 0, 5, 5, 2, 2, 2))

EDGE_TOLERANCE = 0.3  # m
AGAINST_S, AGAINST_HALF, AGAINST_ALL = 1.0, 2.0, 6.0  # s, m, m
LEAST_REFERENCE = 5.0  # m
OFF_CENTRE, OFF_CENTRE_S = 0.5, 2.0  # m, s
_HEEDLESS_SPEED = 5e-3  # m/s below which a vehicle cannot run into anybody


class Episode(NamedTuple):
  """What was driven. Frames beyond `frames` and agents that are not valid may hold anything.

  Attributes:
    ego_Tx4: x, y of the box's centre in m, heading in rad, speed in m/s (negative backwards).
    ego_size_2: length and width in m. frames: int, how many were driven.
    agents_TxAx4, agents_size_Ax2, agents_valid_TxA: the others, alike.
    movable_A: bool, road users; False for what cannot move.
    road: evaluation.metrics.road.Road. lines: evaluation.metrics.road.StopLines on the ego's route.
    route_Px2: m, what the ego was asked to follow; its last point may be repeated.
    reference_m: progress of the reference driver in the same time; NaN unknown.
    extended_comfort: 1, 0, or NaN without consecutive plans.
  """

  ego_Tx4: Array
  ego_size_2: Array
  frames: Array
  agents_TxAx4: Array
  agents_size_Ax2: Array
  agents_valid_TxA: Array
  movable_A: Array
  road: road.Road
  lines: road.StopLines
  route_Px2: Array
  reference_m: Array
  extended_comfort: Array


class Driven(NamedTuple):
  """What happened, by frame; nothing happens beyond the frames driven.

  Attributes:
    contact_TxA: boxes overlap. event_TxA: a contact begins. fault_TxA: it begins and is the ego's fault.
    off_road_T, against_T, junction_T, straddles_T: bool; all false without a map. red_T: the front passes a red line.
    ttc_T: s, the least to anybody the ego must heed. off_centre_T: m, infinite where no lane leads its way.
    arc_T: m along the route, as of the last frame driven beyond it.
    quantities: as of evaluation.metrics.comfort.course.
  """

  contact_TxA: jax.Array
  event_TxA: jax.Array
  fault_TxA: jax.Array
  off_road_T: jax.Array
  against_T: jax.Array
  junction_T: jax.Array
  straddles_T: jax.Array
  red_T: jax.Array
  ttc_T: jax.Array
  off_centre_T: jax.Array
  arc_T: jax.Array
  quantities: dict[str, jax.Array]


class SubScores(NamedTuple):
  """value_M: in the order of SUB_SCORES. defined_M: bool; a value that is not defined means nothing."""

  value_M: jax.Array
  defined_M: jax.Array


def observe(episode: Episode, dt: float) -> Driven:
  """Everything the scores are made of. dt: seconds between frames, a constant under jit."""
  there_T = jnp.arange(len(episode.ego_Tx4)) < episode.frames
  ego_Tx4 = jnp.where(there_T[:, None], episode.ego_Tx4, 0.0)
  valid_TxA = episode.agents_valid_TxA & there_T[:, None]
  agents_TxAx4 = jnp.where(valid_TxA[..., None], episode.agents_TxAx4, 0.0)
  heading_T, speed_T = ego_Tx4[:, 2], ego_Tx4[:, 3]
  course_T = jnp.where(speed_T < 0, heading_T + jnp.pi, heading_T)
  ego_Tx5 = boxes.boxes(ego_Tx4[:, :2], heading_T, jnp.broadcast_to(episode.ego_size_2, (len(ego_Tx4), 2)))
  sizes = jnp.broadcast_to(episode.agents_size_Ax2[None], (*valid_TxA.shape, 2))
  agents_TxAx5 = boxes.boxes(agents_TxAx4[..., :2], agents_TxAx4[..., 2], sizes)

  corner_TxS = road.lateral(boxes.corners(ego_Tx5), episode.road)
  centre_TxS = road.lateral(ego_Tx5[:, :2], episode.road)
  outside_T = (road.edge_distance(corner_TxS, episode.road) > EDGE_TOLERANCE).any(-1)
  off_road_T = outside_T & episode.road.mask_S.any()  # without a map nobody is said to leave the road
  straddles_T = road.straddles(corner_TxS, episode.road)
  junction_T = road.inside_junction(centre_TxS, episode.road)

  contact_TxA = contacts.contacts(ego_Tx5, agents_TxAx5, valid_TxA)
  event_TxA = contacts.events(contact_TxA, dt)
  astray_T = straddles_T | off_road_T
  blame_TxA = contacts.at_fault(ego_Tx5, speed_T, agents_TxAx5, agents_TxAx4[..., 3], astray_T)
  yaw_rate_T = _yaw_rate(heading_T, there_T, dt)
  yaw_rate_TxA = _yaw_rate(agents_TxAx4[..., 2], valid_TxA, dt)
  ttc_TxA = time_to_collision.time_to_collision(
    ego_Tx5, speed_T, yaw_rate_T, agents_TxAx5, agents_TxAx4[..., 3], yaw_rate_TxA, valid_TxA
  )
  bearing_TxA = contacts.bearing(ego_Tx5, agents_TxAx5)
  wary_TxA = (astray_T | junction_T)[:, None] & (bearing_TxA <= contacts.BEHIND)
  heeded_TxA = (bearing_TxA < contacts.AHEAD) | wary_TxA
  touched_TxA = jax.lax.cummax(contact_TxA.astype(jnp.int32)) > 0
  heeded_TxA &= (jnp.abs(speed_T) >= _HEEDLESS_SPEED)[:, None] & ~touched_TxA
  front_Tx2 = contacts.front_edge(ego_Tx5)[:, :2]
  held_Tx2 = jnp.where(there_T[:, None], ego_Tx4[:, :2], ego_Tx4[jnp.maximum(episode.frames - 1, 0), :2])
  return Driven(
    contact_TxA=contact_TxA,
    event_TxA=event_TxA,
    fault_TxA=event_TxA & blame_TxA,
    off_road_T=off_road_T & there_T,
    against_T=road.against_traffic(centre_TxS, course_T, episode.road) & there_T,
    junction_T=junction_T & there_T,
    straddles_T=straddles_T & there_T,
    red_T=road.red_crossings(front_Tx2, episode.lines).any(-1) & there_T,
    ttc_T=jnp.where(heeded_TxA, ttc_TxA, jnp.inf).min(1, initial=jnp.inf),
    off_centre_T=road.centreline_distance(centre_TxS, course_T, episode.road),
    arc_T=progress.arcs(held_Tx2, episode.route_Px2),
    quantities=comfort.course(speed_T, heading_T, episode.frames, dt),
  )


def sub_scores(episode: Episode, driven: Driven, dt: float) -> SubScores:
  """The sub-scores of an episode and what `observe` saw in it."""
  there_T = jnp.arange(len(episode.ego_Tx4)) < episode.frames
  mapped, lined = episode.road.mask_S.any(), episode.lines.mask_Q.any()
  harm_A = jnp.where(episode.movable_A, 0.0, 0.5)
  collision = jnp.where(driven.fault_TxA.any(0), harm_A, 1.0).min(initial=1.0)

  step_Tx2 = jnp.diff(episode.ego_Tx4[:, :2], axis=0, prepend=episode.ego_Tx4[:1, :2])
  against_T = jnp.where(driven.against_T, jnp.hypot(step_Tx2[:, 0], step_Tx2[:, 1]), 0.0)
  worst = _most_within(against_T, round(AGAINST_S / dt))
  direction = jnp.where(worst < AGAINST_HALF, 1.0, jnp.where(worst < AGAINST_ALL, 0.5, 0.0))

  made = driven.arc_T[-1] - driven.arc_T[0]
  short = episode.reference_m < LEAST_REFERENCE
  share = jnp.where(short, 1.0, jnp.clip(made / jnp.where(short, 1.0, episode.reference_m), 0.0, 1.0))

  off_T = (driven.off_centre_T > OFF_CENTRE) & ~driven.junction_T & there_T
  stretch = round(OFF_CENTRE_S / dt)
  kept = _most_within(off_T.astype(share.dtype), stretch) < stretch
  flags = jnp.stack(list(comfort.comfortable(driven.quantities).values()))
  values = (
    collision,
    ~driven.off_road_T.any(),
    direction,
    ~driven.red_T.any(),
    share,
    ~(driven.ttc_T < time_to_collision.BOUND).any(),
    kept,
    flags.min(),
    episode.extended_comfort,
  )
  derived = (episode.frames >= comfort.LEAST) & (abs(dt - comfort.STEP) < 1e-6)
  defined = (
    True, mapped, mapped, lined, ~jnp.isnan(episode.reference_m), True, mapped, derived,
    ~jnp.isnan(episode.extended_comfort),
  )  # fmt: skip
  value_M = jnp.stack([jnp.asarray(value, share.dtype) for value in values])
  return SubScores(
    jnp.where(_sound(episode), value_M, jnp.nan), jnp.stack([jnp.asarray(one) for one in defined])
  )


def composite(scores: SubScores, form: tuple[tuple[int, ...], tuple[int, ...]]) -> jax.Array:
  """The score in [0, 1] of a form, PDMS or EPDMS, over what is defined; NaN where no weighted term is."""
  factor_M, weight_M = (jnp.asarray(part, scores.value_M.dtype) for part in form)
  weight_M = weight_M * scores.defined_M
  product = jnp.where(scores.defined_M & (factor_M > 0), scores.value_M, 1.0).prod()
  return product * jnp.where(weight_M > 0, scores.value_M * weight_M, 0.0).sum() / weight_M.sum()


def human_filtered(scores: SubScores, human: SubScores) -> SubScores:
  """`scores`, 1 where the human driver's sub-score of the same scene is 0: who must break a rule there is excused."""
  excused_M = human.defined_M & (human.value_M == 0)
  return scores._replace(value_M=jnp.where(excused_M, 1.0, scores.value_M))


def _sound(episode: Episode) -> jax.Array:
  """bool: everything that counts is finite, and there is a first frame."""
  there_T = jnp.arange(len(episode.ego_Tx4)) < episode.frames
  sound = (jnp.isfinite(episode.ego_Tx4).all(-1) | ~there_T).all() & jnp.isfinite(episode.ego_size_2).all()
  agents_TxA = (
    jnp.isfinite(episode.agents_TxAx4).all(-1) & jnp.isfinite(episode.agents_size_Ax2).all(-1)[None]
  )
  sound &= (agents_TxA | ~(episode.agents_valid_TxA & there_T[:, None])).all()
  return sound & jnp.isfinite(episode.route_Px2).all() & (episode.frames > 0)


def _yaw_rate(heading_T: jax.Array, valid_T: jax.Array, dt: float) -> jax.Array:
  """rad/s from the frame before; zero where that is not valid."""
  turn = (heading_T[1:] - heading_T[:-1] + jnp.pi) % (2 * jnp.pi) - jnp.pi
  rate = jnp.where(valid_T[1:] & valid_T[:-1], turn / dt, 0.0)
  return jnp.concatenate([jnp.zeros_like(rate[:1]), rate])


def _most_within(value_T: jax.Array, frames: int) -> jax.Array:
  """The largest sum over `frames` frames in a row."""
  total_T = jnp.concatenate([jnp.zeros_like(value_T[:1]), value_T.cumsum()])
  return (total_T[frames:] - total_T[:-frames]).max() if frames < len(total_T) else total_T[-1]
