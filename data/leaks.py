"""The six leaks that driving data is full of, as pure functions.

Each takes the scenes of every split and returns what it found, nothing when the split is clean. A leak lets a
model score on held-out data by having seen it, its future or its name, so that a held-out loss flatters.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from data.schema import Metadata
from data.traces import Trace, buckets, same_traffic

# What a sampler or a model may be conditioned on; the rest of the metadata is identity, for splitting only.
DESCRIPTIVE = (
  "domain", "weather", "light", "speed_regime", "operation", "traffic_side", "sensor_rig", "label_source",
  "rare_events",
)  # fmt: skip
IDENTITY = ("scene_id", "recording", "route", "map_id")
_MANY = 8  # scenes from which on a value of their own for nearly every one is no coincidence
_OWN = 0.9  # share of scenes with a value of their own
_NAME = 4  # characters from which on a name found in a path is no coincidence

Splits = Mapping[str, Sequence[Trace]]


@dataclasses.dataclass(frozen=True)
class Leak:
  """Attributes: kind: key of KINDS. what: one clause with names. splits: those it concerns, sorted."""

  kind: str
  what: str
  splits: tuple[str, ...]


def adjacent_frames(parts: Splits) -> Iterator[Leak]:
  """Frames of one recording close in time, or the very same tracks (data.traces), on two sides of a split."""
  flat = list(_flat(parts))
  for i, j in same_traffic([trace for _, trace in flat]):
    (a, one), (b, other) = flat[i], flat[j]
    if a != b:
      names = f"{one.metadata.scene_id} ({a}) and {other.metadata.scene_id} ({b}) show the same traffic"
      yield Leak("adjacent_frames", names, _pair(a, b))


def same_route_same_day(parts: Splits) -> Iterator[Leak]:
  """One route on one day in several splits. A day that is unknown cannot be told from another."""
  known = [(split, t.metadata) for split, t in _flat(parts) if t.metadata.route]
  for members in buckets((m.source, m.route) for _, m in known):
    route = [known[i] for i in members]
    for day in sorted({m.date for _, m in route if m.date} or {""}):
      there = sorted({split for split, m in route if m.date in (day, "")})
      if len(there) > 1:
        where = f"route {route[0][1].route} on {day or 'an unknown day'} is in {', '.join(there)}"
        yield Leak("same_route_same_day", where, tuple(there))


def future_map(parts: Splits) -> Iterator[Leak]:
  """Map labels drawn after the drive: they may hold what the drive, or its future, taught the map makers."""
  for split, trace in _flat(parts):
    m = trace.metadata
    shared = min(len(m.date), len(m.map_date))  # "2024-05" is compared with "2024-04-30" by month
    if shared and m.map_date[:shared] > m.date[:shared]:
      yield Leak("future_map", f"{m.scene_id} of {m.date} has a map of {m.map_date}", (split,))


def future_teacher(parts: Splits) -> Iterator[Leak]:
  """Labels by a model that saw frames beyond the one it labelled. Offline smoothing is no teacher's."""
  for split, trace in _flat(parts):
    m = trace.metadata
    if m.label_source == "teacher" and m.label_horizon_s > 0:
      what = f"the teacher of {m.scene_id} saw {m.label_horizon_s:g} s of its future"
      yield Leak("future_teacher", what, (split,))


def shared_seed(parts: Splits) -> Iterator[Leak]:
  """One simulation seed in several splits: the same world, or the same random numbers in another."""
  known = [(split, t.metadata) for split, t in _flat(parts) if t.metadata.seed >= 0]
  for members in buckets((m.source, m.seed) for _, m in known):
    there = sorted({known[i][0] for i in members})
    if len(there) > 1:
      seed = known[members[0]][1].seed
      yield Leak("shared_seed", f"simulation seed {seed} is in {', '.join(there)}", tuple(there))


def identity_in_metadata(parts: Splits) -> Iterator[Leak]:
  """A DESCRIPTIVE field that names a split or its own scene, or has a value of its own for nearly all scenes."""
  flat = list(_flat(parts))
  splits = tuple(sorted(parts))
  for field in DESCRIPTIVE:
    values = [_texts(t.metadata, field) for _, t in flat]
    for (_, trace), texts in zip(flat, values, strict=True):
      names = {n for key in IDENTITY if len(n := str(getattr(trace.metadata, key))) >= _NAME}
      told = [text for text in texts if text in names or any(_is_word(name, text) for name in splits)]
      if told and not _same_by_design(field, told[0], trace.metadata, splits):
        yield Leak("scene_identity", f"{field} of {trace.metadata.scene_id} is {told[0]!r}", splits)
        break
    own = len(set(values))
    if len(flat) >= _MANY and own > _OWN * len(flat):
      yield Leak("scene_identity", f"{field} has {own} values for {len(flat)} scenes", splits)


def identity_in_paths(parts: Splits, paths: Iterable[str]) -> Iterator[Leak]:
  """A data file whose name, relative to the dataset, holds a scene's id, recording, route or map."""
  names = {str(getattr(t.metadata, key)): split for split, t in _flat(parts) for key in IDENTITY}
  for path in paths:
    words = set(re.split(r"[/.]", path)) | set(re.split(r"[/.\-_]", path))
    for name in sorted(words & {n for n in names if len(n) >= _NAME}):
      yield Leak("scene_identity", f"the path {path} names {name}", (names[name],))


def identity_in_windows(windows: Sequence[Sequence[dict[str, np.ndarray]]]) -> Iterator[Leak]:
  """A model input that is constant over a scene's windows and almost never the same in two scenes.

  Args:
    windows: the windows of each scene; scenes without windows or fewer than 8 scenes prove nothing.
  """
  scenes = [w for w in windows if w]
  if len(scenes) < _MANY:
    return
  constants = [_constants(w) for w in scenes]
  for name in sorted(constants[0]):
    values = [c[name] for c in constants if name in c]
    if len(values) > _OWN * len(scenes) and len(set(values)) > _OWN * len(scenes):
      yield Leak("scene_identity", f"{name} has a value of its own in nearly all of {len(scenes)} scenes", ())


KINDS: dict[str, tuple[Callable[[Splits], Iterator[Leak]], str]] = {
  "adjacent_frames": (adjacent_frames, "frames of one recording on both sides of a split"),
  "same_route_same_day": (same_route_same_day, "one route on one day on both sides of a split"),
  "future_map": (future_map, "map labels from after the drive"),
  "future_teacher": (future_teacher, "labels by a teacher that saw the future"),
  "scene_identity": (identity_in_metadata, "scenario identity in paths, metadata or inputs"),
  "shared_seed": (shared_seed, "one simulation seed on both sides of a split"),
}


def find(parts: Splits) -> dict[str, list[Leak]]:
  """Every kind to what was found in the scenes alone; paths and windows have their own functions above."""
  return {kind: list(check(parts)) for kind, (check, _) in KINDS.items()}


def _constants(windows: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
  """Inputs (features by column) with one value at every supervised move of these windows, zero apart."""
  mask = np.stack([w["mask_TxA"] for w in windows])
  seen = np.stack([w["features_TxAxF"] for w in windows])[mask].astype(np.float32)
  still = (np.ptp(seen, axis=0) == 0) & (seen[0] != 0) if len(seen) else np.zeros(0, bool)
  found = {f"features column {f}": float(seen[0, f]) for f in np.flatnonzero(still)}
  for name in ("domain", "type_A"):
    value = np.stack([w[name] for w in windows])
    value = value[mask.any(1)] if name == "type_A" else value
    if len(value) and np.ptp(value) == 0 and value.flat[0] != 0:
      found[name] = float(value.flat[0])
  return found


def _flat(parts: Splits) -> Iterator[tuple[str, Trace]]:
  """(split, trace) in a fixed order."""
  for split in sorted(parts):
    for trace in parts[split]:
      yield split, trace


def _pair(a: str, b: str) -> tuple[str, ...]:
  return tuple(sorted((a, b)))


def _texts(metadata: Metadata, field: str) -> tuple[str, ...]:
  value = getattr(metadata, field)
  return value if isinstance(value, tuple) else (str(value),)


def _is_word(name: str, text: str) -> bool:
  return name in re.split(r"[^A-Za-z0-9]+", text)


def _same_by_design(field: str, text: str, metadata: Metadata, splits: tuple[str, ...]) -> bool:
  """A domain may be called after its only road or map: that names a place, not a scene."""
  alike = text not in (metadata.scene_id, metadata.recording) and not any(_is_word(s, text) for s in splits)
  return field == "domain" and alike
