"""An independent monitor beside a policy: when it would take over, and how often the two disagree.

It knows nothing of the policy but what was driven. In every frame, in the ego's own frame of reference, an agent ahead
endangers the ego when both the gap along and the gap beside are less than the safe ones (safe_distance.py); then the
ego must brake, and after the response time rho by b_min at least:

  demanded    danger in this frame and for all of rho before it
  ignored     demanded, the ego moves, and it brakes by less than b_min
  takes_over  the first frame of each stretch that is ignored: a minimal-risk manoeuvre would begin here
  unprompted  the ego brakes by b_min or more, and neither within rho nor since it began to had there been danger

Followers are not the ego's to brake for. Lanes are taken to be straight along the ego's heading, so that in a bend an
agent in the next lane may count as ahead. NaN in a state is danger: what is not known is not reported as safe.

What would have become of a take-over is not known, as the driver drives on. What is known is what came after it: with
a contact ahead within `WARNED` s it is a hit, without one a false alarm; such a contact without one before is a miss.

Pure jax.numpy on one `Episode` (driving_score.py); vmap over several, sum what `tally` counts, and ask `rates`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from evaluation.metrics import boxes
from evaluation.metrics.driving_score import Episode
from evaluation.safety import safe_distance
from evaluation.safety.safe_distance import Responses

WARNED = 3.0  # s
_STANDS = 0.1  # m/s


class Watched(NamedTuple):
  """bool, by frame; nothing happens beyond the frames driven. contact_T: the ego's box begins to overlap
  that of an agent whose centre is ahead of its own: who is run into from behind has not failed to heed anybody."""

  danger_TxA: jax.Array
  demanded_T: jax.Array
  ignored_T: jax.Array
  takes_over_T: jax.Array
  unprompted_T: jax.Array
  contact_T: jax.Array
  driven_T: jax.Array


def watch(episode: Episode, dt: float, by: Responses) -> Watched:
  """What the monitor sees in an episode whose frames are `dt` s apart."""
  speed_T = episode.ego_Tx4[:, 3]
  driven_T = jnp.arange(len(speed_T)) < episode.frames
  there_TxA = episode.agents_valid_TxA & driven_T[:, None]
  danger_TxA = _danger(episode, by) & there_TxA
  lasts = max(1, round(by.rho / dt))
  danger_T = danger_TxA.any(-1)
  recent = jnp.stack([_before(danger_T, k) for k in range(lasts + 1)])
  demanded_T = recent.all(0)
  # What is commanded in a frame shows in the next one.
  later_T = jnp.append(speed_T[1:], speed_T[-1:])
  known_T = jnp.arange(len(speed_T)) < episode.frames - 1
  brakes_T = known_T & ((speed_T - later_T) / dt >= by.brakes_least)
  ignored_T = demanded_T & known_T & ~brakes_T & ~(speed_T < _STANDS)
  ego = boxes.boxes(episode.ego_Tx4[:, :2], episode.ego_Tx4[:, 2], _of_frames(episode.ego_size_2, driven_T))
  others = boxes.boxes(
    episode.agents_TxAx4[..., :2], episode.agents_TxAx4[..., 2], _of_frames(episode.agents_size_Ax2, driven_T)
  )
  touch_TxA = boxes.overlap(ego[:, None], others) & there_TxA
  begins_TxA = touch_TxA & ~jnp.concatenate([jnp.zeros_like(touch_TxA[:1]), touch_TxA[:-1]])
  return Watched(
    danger_TxA=danger_TxA,
    demanded_T=demanded_T,
    ignored_T=ignored_T,
    takes_over_T=ignored_T & ~_before(ignored_T, 1),
    unprompted_T=brakes_T & ~_since(recent.any(0), brakes_T),
    contact_T=(begins_TxA & ~(_ahead(episode)[0] <= 0)).any(-1),
    driven_T=driven_T,
  )


def tally(watched: Watched, dt: float) -> dict[str, jax.Array]:
  """Counts of one episode, to be summed: frames, and by name those of `Watched`; of episodes with a contact, those
  in which the monitor had taken over before it (`foreseen`); contacts with (`hits`) and without (`misses`) a take-over
  in the WARNED s before them, and take-overs without a contact in the WARNED s after them (`false_alarms`)."""
  touched = watched.contact_T.any()
  frames = round(WARNED / dt)
  warned_T, followed_T = _within(watched.takes_over_T, frames), _within(watched.contact_T[::-1], frames)[::-1]
  first = watched.contact_T.argmax()
  before = jnp.arange(len(watched.contact_T)) <= first
  return {
    "frames": watched.driven_T.sum(),
    "danger": watched.danger_TxA.any(-1).sum(),
    "demanded": watched.demanded_T.sum(),
    "ignored": watched.ignored_T.sum(),
    "unprompted": watched.unprompted_T.sum(),
    "takes_over": watched.takes_over_T.sum(),
    "episodes": jnp.ones((), jnp.int32),
    "episodes_taken_over": watched.takes_over_T.any().astype(jnp.int32),
    "contacts": touched.astype(jnp.int32),
    "foreseen": (touched & (watched.takes_over_T & before).any()).astype(jnp.int32),
    "hits": (watched.contact_T & warned_T).sum(),
    "misses": (watched.contact_T & ~warned_T).sum(),
    "false_alarms": (watched.takes_over_T & ~followed_T).sum(),
  }


def rates(counts: dict[str, int]) -> dict[str, float | None]:
  """Of summed counts: the share of frames in which policy and monitor disagree, and what it is made of; None of none.

  takes_over: share of episodes. foreseen: share of the episodes with a contact. hit: share of contacts. false_alarm:
  share of take-overs.
  """

  def share(part: int, whole: int) -> float | None:
    return part / whole if whole else None

  return {
    "disagree": share(counts["ignored"] + counts["unprompted"], counts["frames"]),
    "ignored": share(counts["ignored"], counts["demanded"]),
    "unprompted": share(counts["unprompted"], counts["frames"]),
    "danger": share(counts["danger"], counts["frames"]),
    "takes_over": share(counts["episodes_taken_over"], counts["episodes"]),
    "foreseen": share(counts["foreseen"], counts["contacts"]),
    "hit": share(counts["hits"], counts["hits"] + counts["misses"]),
    "false_alarm": share(counts["false_alarms"], counts["takes_over"]),
  }


def _danger(episode: Episode, by: Responses) -> jax.Array:
  """bool [T, A]: both gaps to an agent ahead are too small."""
  ego, others = episode.ego_Tx4[:, None], episode.agents_TxAx4
  ahead, left = _ahead(episode)
  turn = others[..., 2] - ego[..., 2]
  along_speed, left_speed = others[..., 3] * jnp.cos(turn), others[..., 3] * jnp.sin(turn)
  length, width = episode.agents_size_Ax2[None, :, 0], episode.agents_size_Ax2[None, :, 1]
  along = 0.5 * (length * jnp.abs(jnp.cos(turn)) + width * jnp.abs(jnp.sin(turn)))
  across = 0.5 * (length * jnp.abs(jnp.sin(turn)) + width * jnp.abs(jnp.cos(turn)))
  gap = ahead - along - 0.5 * episode.ego_size_2[0]
  beside = jnp.abs(left) - across - 0.5 * episode.ego_size_2[1]
  speed = jnp.maximum(ego[..., 3], 0.0)
  safe_gap = jnp.where(
    along_speed >= 0,
    safe_distance.longitudinal(speed, jnp.maximum(along_speed, 0.0), by),
    safe_distance.oncoming(speed, jnp.maximum(-along_speed, 0.0), by),
  )
  towards = -jnp.sign(left) * left_speed
  safe_beside = safe_distance.lateral(jnp.zeros_like(towards), towards, by)
  return ~(gap >= safe_gap) & ~(beside >= safe_beside) & ~(ahead <= 0)


def _ahead(episode: Episode) -> tuple[jax.Array, jax.Array]:
  """[T, A] m ahead and to the left, from centre to centre."""
  ego, others = episode.ego_Tx4[:, None], episode.agents_TxAx4
  x, y = others[..., 0] - ego[..., 0], others[..., 1] - ego[..., 1]
  cos, sin = jnp.cos(ego[..., 2]), jnp.sin(ego[..., 2])
  return cos * x + sin * y, cos * y - sin * x


def _before(flag_T: jax.Array, frames: int) -> jax.Array:
  """The flags of so many frames ago, False before the first."""
  return jnp.concatenate([jnp.zeros(frames, bool), flag_T[: len(flag_T) - frames]])


def _within(flag_T: jax.Array, frames: int) -> jax.Array:
  """Whether the flag was up in any of so many frames before, this one left out."""
  count_T = jnp.cumsum(flag_T)
  earlier_T = jnp.concatenate([jnp.zeros_like(count_T[:1]), count_T[:-1]])
  reach = min(frames, len(flag_T))
  return earlier_T > jnp.concatenate([jnp.zeros_like(earlier_T[:reach]), earlier_T[:-reach]])


def _since(flag_T: jax.Array, during_T: jax.Array) -> jax.Array:
  """Whether the flag is up, or has been since the stretch of `during_T` began that goes on."""

  def step(was, now):
    flag, during = now
    up = flag | (was & during)
    return up, up

  return jax.lax.scan(step, jnp.zeros((), bool), (flag_T, during_T))[1]


def _of_frames(size: jax.Array, driven_T: jax.Array) -> jax.Array:
  return jnp.broadcast_to(size, (len(driven_T), *size.shape))
