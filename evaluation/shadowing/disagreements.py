"""Where two runs see the future most differently, for a person to look at: found, named, and drawn from above.

Metres are the units of a drawing; north is up. The agent's past is its trail, the log what it then did.
"""

import dataclasses
from html import escape

import numpy as np

from evaluation.driving.pictures import EGO, GROUND, OTHER, body, lanes, line
from evaluation.shadowing.stream import Record, Scores, apart, truth

LOGGED, CANDIDATE, INCUMBENT = "#2ca02c", "#1f5fbf", "#e07b00"
_LEAST_HALF, _MARGIN = 20.0, 8.0  # m shown to either side: at least, and around the futures


@dataclasses.dataclass(frozen=True)
class Disagreement:
  """Of one agent in one record: where, and mean distances in m between the runs and from each to the log.

  record, window, slot: its place in the stream. agent: its column in the scene. begin_s, now_s: of the record and of
  the moment from which both look ahead, in the scene.
  """

  record: int
  window: int
  slot: int
  scene: str
  domain: str
  agent: int
  begin_s: float
  now_s: float
  apart_m: float
  candidate_m: float
  incumbent_m: float

  @property
  def nearer(self) -> str:
    return "candidate" if self.candidate_m < self.incumbent_m else "incumbent"


def worst(records: list[Record], candidate: Scores, incumbent: Scores, count: int) -> list[Disagreement]:
  """The records with the agent over whose likeliest future the runs differ most, the furthest apart first."""
  found = []
  for n, record in enumerate(records):
    cases, one, other = record.cases, candidate.futures[n], incumbent.futures[n]
    between = apart(cases, one, other)
    b, a = np.unravel_index(int(between.argmax()), between.shape)
    logged = truth(cases)
    found.append(
      Disagreement(
        record=n,
        window=int(b),
        slot=int(a),
        scene=record.scene.metadata.scene_id,
        domain=record.scene.metadata.domain,
        agent=int(cases.windows["agent_A"][b, a]),
        begin_s=record.begin_s,
        now_s=record.begin_s + cases.observed * cases.stride * cases.frame_s,
        apart_m=float(between[b, a]),
        candidate_m=float(apart(cases, one, logged)[b, a]),
        incumbent_m=float(apart(cases, other, logged)[b, a]),
      )
    )
  return sorted(found, key=lambda one: -one.apart_m)[:count]


def drawing(one: Disagreement, records: list[Record], candidate: Scores, incumbent: Scores) -> str:
  """The moment from which both runs look ahead, as SVG."""
  record, place = records[one.record], (one.window, one.slot)
  cases, scene = record.cases, record.scene
  now = cases.observed * cases.stride
  history = np.asarray(cases.history_BxHxAx2[one.window, :, one.slot], np.float64)
  paths = {
    LOGGED: np.asarray(cases.truth_BxAxNx2[place], np.float64),
    INCUMBENT: incumbent.futures[one.record][place],
    CANDIDATE: candidate.futures[one.record][place],
  }
  here = history[-1]
  whole = np.concatenate([here[None], *paths.values()])
  middle = 0.5 * (whole.min(0) + whole.max(0))
  half = max(_LEAST_HALF, float(np.abs(whole - middle).max()) + _MARGIN)
  drawn = [lanes(scene.lanes, middle[None], 1.5 * half)]  # to the corners
  for agent in np.flatnonzero(scene.valid_TxA[now]):
    position = scene.position_TxAx2[now, agent]
    if np.abs(position - middle).max() < half + 10:
      turn = f"translate({position[0]:.2f},{position[1]:.2f}) rotate({np.degrees(scene.heading_TxA[now, agent]):.1f})"
      length, width = (float(value) for value in scene.size_Ax2[agent])
      drawn.append(f'<g transform="{turn}">{body(length, width, EGO if agent == one.agent else OTHER)}</g>')
  thick = 0.012 * half
  drawn.append(line(history, "#555555", thick, ' stroke-dasharray="0.6 0.6"'))
  for colour, path in paths.items():
    drawn.append(line(np.concatenate([here[None], path]), colour, 1.6 * thick))
    drawn.append(
      f'<circle cx="{path[-1, 0]:.2f}" cy="{path[-1, 1]:.2f}" r="{2 * thick:.2f}" fill="{colour}"/>'
    )
  left, top, side = middle[0] - half, -middle[1] - half, 2 * half
  return (
    f'<svg xmlns="http://www.w3.org/2000/svg" width="360" height="360"'
    f' viewBox="{left:.1f} {top:.1f} {side:.1f} {side:.1f}">'
    f'<rect x="{left:.1f}" y="{top:.1f}" width="{side:.1f}" height="{side:.1f}" fill="{GROUND}"/>'
    f'<g transform="scale(1,-1)">{"".join(drawn)}</g></svg>'
  )


def page(title: str, verdict: str, found: list[Disagreement], drawings: list[str]) -> str:
  """One HTML file that opens offline: the verdict, then the drawings, the furthest apart first."""
  colours = ((LOGGED, "what was driven"), (CANDIDATE, "candidate"), (INCUMBENT, "incumbent"))
  legend = " ".join(f'<b style="color:{colour}">&#9644; {name}</b>' for colour, name in colours)
  figures = "".join(
    f"<figure>{drawing}<figcaption><b>{one.apart_m:.1f} m apart</b>; the {one.nearer} is nearer to the log"
    f" ({one.candidate_m:.1f} m against {one.incumbent_m:.1f} m).<br>{escape(one.domain)}, {escape(one.scene)}, agent"
    f" {one.agent}, from {one.now_s:.1f} s on</figcaption></figure>"
    for one, drawing in zip(found, drawings, strict=True)
  )
  return (
    f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>'
    "body{font:15px sans-serif;margin:24px;max-width:1180px;color:#1c2430;background:#fff}"
    "main{display:flex;flex-wrap:wrap;gap:18px}figure{margin:0;width:360px}figcaption{font-size:13px;margin-top:4px}"
    f"</style><h1>{escape(title)}</h1><p>{escape(verdict)}</p><p>Mean distances over the horizon. {legend}</p>"
    f"<main>{figures}</main></html>\n"
  )
