"""Splits by group, never by frame: what shows the same road, map, recording or world stays on one side.

Groups are the connected components of the relation "shares something"; `by` says what counts:

  "recording": recording, route, map, simulation seed, or the same traffic (data.traces).
  "overlap": map or the same traffic. For logs that all come from one road, where the former leaves a single
    group: frames do not leak, but a held-out loss says nothing about other roads, and data.audit says so.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from data.errors import BadInput
from data.traces import Trace, buckets, same_traffic

_NEAR = 0.1  # of all scenes: a share that is further off its fraction is told
GROUPINGS = ("recording", "overlap")


def assign(traces: Sequence[Trace], fractions: Mapping[str, float], seed: int, by: str) -> dict[str, str]:
  """Scene id to split name, deterministic and independent of the order of `traces`.

  Domain by domain, the heaviest groups first, each goes to the split that lacks most of its fraction of the
  domain's scenes; a domain with at least as many groups as there are splits is in every split.

  Raises BadInput when fractions do not add up to one, ids repeat, or there are fewer groups than splits.
  """
  if not fractions or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
    raise BadInput(f"fractions are {dict(fractions)}", "splits", "give positive fractions that add up to 1")
  ids = Counter(t.metadata.scene_id for t in traces)
  if repeated := [name for name, count in ids.items() if count > 1]:
    raise BadInput(f"scene_id {repeated[0]!r} occurs {ids[repeated[0]]} times", "splits", "make it unique")
  traces = sorted(traces, key=lambda t: t.metadata.scene_id)
  found = groups(traces, by)
  if len(found) < len(fractions):
    raise BadInput(
      f"{len(traces)} scenes form {len(found)} groups by {by}, too few for the splits {', '.join(fractions)}",
      "splits",
      "add scenes of other roads" + ("" if by == "overlap" else ", or split by overlap (see data.splits)"),
    )
  domain_of = [Counter(traces[i].metadata.domain for i in group).most_common(1)[0][0] for group in found]
  chosen: dict[str, str] = {}
  sizes: Counter[str] = Counter()
  # Domains with few groups last: there the splits as a whole decide.
  for members in sorted(buckets(domain_of), key=lambda m: (len(m) < len(fractions), domain_of[m[0]])):
    order = sorted(
      (found[m] for m in members), key=lambda group: (-len(group), _draw(seed, traces[group[0]]))
    )
    here: Counter[str] = Counter() if len(order) >= len(fractions) else Counter(sizes)
    total = sum(here.values()) + sum(map(len, order))
    picks = _spread(list(map(len, order)), fractions, here, total)
    for group, split in zip(order, picks, strict=True):
      chosen |= {traces[i].metadata.scene_id: split for i in group}
      sizes[split] += len(group)
  for split in fractions:  # domains with one group each may all have gone the same way
    if not sizes[split]:
      sides = [chosen[traces[group[0]].metadata.scene_id] for group in found]
      spare = [g for g, side in zip(found, sides, strict=True) if sides.count(side) > 1]
      lightest = min(spare, key=lambda group: (len(group), _draw(seed, traces[group[0]])))
      sizes[chosen[traces[lightest[0]].metadata.scene_id]] -= len(lightest)
      sizes[split] += len(lightest)
      chosen |= {traces[i].metadata.scene_id: split for i in lightest}
  return chosen


def departure(scenes: Mapping[str, int], fractions: Mapping[str, float]) -> str:
  """A sentence where a split's share of the scenes is more than a tenth off its fraction, as of few scenes; else ""."""
  total = sum(scenes.values())
  found = {name: scenes[name] / total for name in fractions}
  if all(abs(found[name] - fractions[name]) <= _NEAR for name in fractions):
    return ""
  asked, made = (
    ", ".join(f"{name} {share:.0%}" for name, share in shares.items()) for shares in (fractions, found)
  )
  return f"fractions cannot be kept: asked for {asked}; {total} scenes are split into {made}"


def groups(traces: Sequence[Trace], by: str) -> list[list[int]]:
  """Connected components, as sorted lists of indices in order of their first member."""
  if by not in GROUPINGS:
    raise BadInput(f"cannot split by {by!r}", "splits", f"choose one of {', '.join(GROUPINGS)}")
  parent = list(range(len(traces)))

  def root(i: int) -> int:
    while parent[i] != i:
      parent[i] = i = parent[parent[i]]
    return i

  def join(i: int, j: int) -> None:
    a, b = sorted((root(i), root(j)))
    parent[b] = a

  names = ("map_id",) if by == "overlap" else ("map_id", "route", "recording")
  for name in names:
    for members in buckets(
      (t.metadata.source, v) if (v := getattr(t.metadata, name)) else None for t in traces
    ):
      for i in members[1:]:
        join(members[0], i)
  if by == "recording":
    for members in buckets((t.metadata.source, s) if (s := t.metadata.seed) >= 0 else None for t in traces):
      for i in members[1:]:
        join(members[0], i)
  for i, j in same_traffic(traces):
    join(i, j)
  return buckets(root(i) for i in range(len(traces)))


def _spread(sizes: list[int], fractions: Mapping[str, float], here: Counter, total: int) -> list[str]:
  """A split for each size: the last ones, the lightest, first fill the splits that would stay empty."""
  picks = [""] * len(sizes)
  free = list(range(len(sizes)))
  if not here and len(sizes) >= len(fractions):
    for split in sorted(fractions, key=lambda name: fractions[name]):
      picks[free[-1]] = split
      here[split] += sizes[free.pop()]
  for place in free:
    split = max(fractions, key=lambda name: fractions[name] * total - here[name])
    picks[place] = split
    here[split] += sizes[place]
  return picks


def _draw(seed: int, trace: Trace) -> str:
  """Random order that depends on the seed and the group alone."""
  return hashlib.sha256(f"{seed}/{trace.metadata.scene_id}".encode()).hexdigest()
