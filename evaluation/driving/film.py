"""An episode that a person can watch: one HTML file, no network, with the world from above and the score beneath it.

The picture moves with the ego. Below run speed and time to collision, and bands where a rule is broken; a click on them
goes to that moment. Space stops and goes on.
"""

import json
import pathlib
import string
from html import escape
from typing import Any

import numpy as np

from evaluation.driving import pictures
from evaluation.driving.episodes import Drive
from evaluation.driving.scores import TERMS, Judged

_FASTEST, _LONGEST = 35.0, 5.0  # m/s and s at the top of the curves
_HIGH = 70  # px of the curves


def film(drive: Drive, e: int, judged: Judged, values: dict[str, float | None]) -> str:
  """Ego `e` of a drive, with what was seen of it and its terms."""
  last = int(drive.end_step_E[e])
  course = drive.pose_TxEx3[: last + 1, e]
  scored = "".join(
    f"<li>{escape(name.replace('_', ' '))}<b>{'-' if values[name] is None else format(values[name], '.2f')}</b></li>"
    for name in TERMS
  )
  title = pictures.title(drive, e)
  data = {
    "dt": drive.dt,
    "ego": _poses(course),
    "agents": _agents(drive, e, last),
    "lights": _lights(drive, e, last),
    "colours": {int(signal): colour for signal, colour in pictures.LIGHT.items()},
  }
  return string.Template(
    (pathlib.Path(__file__).with_name("film.html")).read_text(encoding="utf-8")
  ).substitute(
    title=escape(title),
    terms=scored,
    ground=pictures.GROUND,
    lanes=pictures.lanes(drive.lanes, course[::5, :2], pictures.SHOWN) + pictures.route(drive, e),
    ego=pictures.body(float(drive.size_Ex2[e, 0]), float(drive.size_Ex2[e, 1]), pictures.EGO),
    curves=_curves(drive, e, judged, last),
    data=json.dumps(data, separators=(",", ":")),
  )


def _poses(pose_Tx3: np.ndarray) -> list[float]:
  """x, y in cm-exact metres and degrees, one after the other."""
  degrees = np.degrees(np.unwrap(pose_Tx3[:, 2]))
  rows = np.stack([pose_Tx3[:, 0].round(2), pose_Tx3[:, 1].round(2), degrees.round(1)], -1)
  return [float(f"{value:.2f}") for value in rows.ravel()]


def _agents(drive: Drive, e: int, last: int) -> list[dict[str, Any]]:
  """Who is near, while it is: the first frame, the poses from there on, the shape."""
  found = []
  apart = drive.box_TxNx5[: last + 1, :, :2] - drive.pose_TxEx3[: last + 1, e, None, :2]
  near = (np.hypot(apart[..., 0], apart[..., 1]) < pictures.SHOWN) & (drive.serial_TxN[: last + 1] >= 0)
  serials = np.where(near, drive.serial_TxN[: last + 1], -1)
  for serial in np.unique(serials[serials >= 0]).tolist():
    if serial != drive.serial_E[e]:
      t, slot = np.nonzero(serials == serial)
      for run in np.split(np.arange(len(t)), np.flatnonzero(np.diff(t) > 1) + 1):
        box = drive.box_TxNx5[t[run], slot[run]].astype(np.float64)
        colour = pictures.TOUCHED if serial == drive.other_E[e] else pictures.OTHER
        shape = pictures.body(float(box[0, 3]), float(box[0, 4]), colour)
        found.append({"from": int(t[run[0]]), "at": _poses(box[:, :3]), "shape": shape})
  return found


def _lights(drive: Drive, e: int, last: int) -> list[dict[str, Any]]:
  """Stop lines of the route, and the frames from which each shows which colour."""
  found = []
  for stop, lane in zip(drive.guides.stop_ExQ[e].tolist(), drive.guides.light_ExQ[e].tolist(), strict=True):
    if lane >= 0:
      shown = drive.signal_TxL[: last + 1, lane].astype(int)
      turns = [0, *(np.flatnonzero(np.diff(shown)) + 1).tolist()]
      ends = pictures.stop_line(drive, e, stop).round(2).ravel().tolist()
      found.append({"line": ends, "turns": [[t, int(shown[t])] for t in turns]})
  return found


def _curves(drive: Drive, e: int, judged: Judged, last: int) -> str:
  """Speed and time to collision over time, and a band for every rule that is broken."""
  happened = judged.driven
  drawn = []
  for values, top, colour in (
    (drive.speed_TxE[: last + 1, e], _FASTEST, "#1f5fbf"),
    (happened.ttc_T[: last + 1], _LONGEST, "#b5651d"),
  ):
    high = _HIGH * (1 - np.minimum(np.nan_to_num(values, posinf=top), top) / top)
    points = " ".join(f"{t},{one:.1f}" for t, one in enumerate(high))
    drawn.append(
      f'<polyline points="{points}" fill="none" stroke="{colour}" vector-effect="non-scaling-stroke"/>'
    )
  rules = {
    "contact": happened.contact_TxA.any(-1), "off the road": happened.off_road_T, "against traffic": happened.against_T,
    "red light": happened.red_T, "collision within 1 s": happened.ttc_T < 0.95,
  }  # fmt: skip
  for row, (name, broken) in enumerate(rules.items()):
    y = _HIGH + 8 + 9 * row
    drawn.append(
      f'<rect x="0" y="{y}" width="{max(last, 1)}" height="7" fill="#e9ebee"><title>{name}</title></rect>'
    )
    drawn += [
      f'<rect x="{t - 0.5}" y="{y}" width="1" height="7" fill="#d62728"/>'
      for t in np.flatnonzero(broken[: last + 1])
    ]
  height = _HIGH + 8 + 9 * len(rules)
  return (
    f'<svg id="curves" viewBox="0 0 {max(last, 1)} {height}" preserveAspectRatio="none">{"".join(drawn)}'
    f'<line id="now" x1="0" x2="0" y1="0" y2="{height}" stroke="black" vector-effect="non-scaling-stroke"/></svg>'
    f'<p class="key"><span style="color:#1f5fbf">speed, 0 to {_FASTEST:.0f} m/s</span>'
    f'<span style="color:#b5651d">time to collision, 0 to {_LONGEST:.0f} s</span>bands: {", ".join(rules)}</p>'
  )
