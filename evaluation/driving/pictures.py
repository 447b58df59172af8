"""What happened, seen from above: one SVG of a moment, for instance of a failure, that any browser shows.

Metres are the units of the drawing; north is up. Lanes are as wide as they are; the route is dashed; where the ego came
from is a trail that ends in its box.
"""

from xml.sax.saxutils import escape

import numpy as np

from data.schema import Lanes, LaneType, Signal
from evaluation.driving.episodes import Drive

SHOWN = 60.0  # m around the ego
TRAIL = 50  # steps
GROUND, _ROAD, _EDGE = "#eef0ea", "#c9ced6", "#8b93a1"
_LANE = {LaneType.WALK: "#dccfb8", LaneType.BIKE: "#c7dbc4", LaneType.JUNCTION: "#bfc5ce"}
LIGHT = {
  Signal.RED: "#d62728",
  Signal.YELLOW: "#e8b400",
  Signal.GREEN: "#2ca02c",
  Signal.GREEN_YIELD: "#8ac926",
}
EGO, TOUCHED, OTHER = "#1f5fbf", "#d62728", "#4a5260"


def title(drive: Drive, e: int) -> str:
  seconds = drive.end_step_E[e] * drive.dt
  who = f"{drive.domain}, {drive.driver.replace('_', ' ')}, world {drive.seed}, ego {e}"
  return f"{who}: {drive.end_E[e]} after {seconds:.1f} s"


def moment(drive: Drive, e: int, t: int, why: str) -> str:
  """The world around ego `e` in frame `t`, as SVG; `why` that moment."""
  x, y, _ = drive.pose_TxEx3[t, e]
  others = []
  for slot in np.flatnonzero(drive.serial_TxN[t] >= 0):
    box, serial = drive.box_TxNx5[t, slot], drive.serial_TxN[t, slot]
    if np.hypot(*(box[:2] - (x, y))) < SHOWN and serial != drive.serial_E[e]:
      others.append(_box(box, TOUCHED if serial == drive.other_E[e] else OTHER))
  ego = np.array([*drive.pose_TxEx3[t, e], *drive.size_Ex2[e]])
  trail = line(drive.pose_TxEx3[max(t - TRAIL, 0) : t + 1, e, :2], EGO, 0.5)
  drawn = [
    lanes(drive.lanes, np.array([[x, y]]), SHOWN),
    route(drive, e),
    lights(drive, e, t),
    trail,
    *others,
    _box(ego, EGO),
  ]
  left, top = x - 40, -y - 30
  text = f"{title(drive, e)}. Here {why}, at {t * drive.dt:.1f} s, {drive.speed_TxE[t, e]:.1f} m/s"
  return (
    f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="570" viewBox="{left:.1f} {top:.1f} 80 60">'
    f'<rect x="{left:.1f}" y="{top:.1f}" width="80" height="60" fill="{GROUND}"/>'
    f'<g transform="scale(1,-1)">{"".join(drawn)}</g>'
    f'<rect x="{left:.1f}" y="{top:.1f}" width="80" height="3" fill="white" fill-opacity="0.85"/>'
    f'<text x="{left + 1:.1f}" y="{top + 2:.1f}" font-size="1.5" font-family="sans-serif">{escape(text)}</text>'
    "</svg>\n"
  )


def lanes(net: Lanes, course_Nx2: np.ndarray, reach: float) -> str:
  """The lanes within `reach` m of a course and a little beyond, outlines first, so that they flow into one another."""
  shapes = []
  for lane in range(len(net)):
    points = net.points(lane)
    dense = points if len(points) > 8 else np.linspace(points[:-1], points[1:], 6).reshape(-1, 2)
    apart = dense[:, None] - course_Nx2[None]
    if (np.hypot(apart[..., 0], apart[..., 1]) < reach + 20).any():
      shapes.append((points, float(net.width_L[lane]), _LANE.get(LaneType(net.type_L[lane]), _ROAD)))
  edges = [line(points, _EDGE, width + 0.3) for points, width, _ in shapes]
  return "".join(edges + [line(points, colour, width) for points, width, colour in shapes])


def route(drive: Drive, e: int) -> str:
  return line(
    drive.guides.ways[e].points, "#2f6fd0", 0.35, ' stroke-dasharray="1.5 1.5" stroke-opacity="0.8"'
  )


def lights(drive: Drive, e: int, t: int) -> str:
  """The stop lines of the route in the colour that is shown."""
  drawn = []
  for stop, lane in zip(drive.guides.stop_ExQ[e], drive.guides.light_ExQ[e], strict=True):
    if lane >= 0:
      drawn.append(
        line(stop_line(drive, e, stop), LIGHT.get(Signal(drive.signal_TxL[t, lane]), "#999999"), 0.8)
      )
  return "".join(drawn)


def stop_line(drive: Drive, e: int, stop: float) -> np.ndarray:
  """float64 [2, 2] m, across the route."""
  way = drive.guides.ways[e]
  before, at = way.at(np.array([max(stop - 0.5, 0.0), stop]))
  ahead = (at - before) / max(float(np.hypot(*(at - before))), 1e-6)
  left = 1.7 * np.array([-ahead[1], ahead[0]])
  return np.stack([at - left, at + left])


def line(points: np.ndarray, colour: str, width: float, more: str = "") -> str:
  text = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
  style = f'fill="none" stroke="{colour}" stroke-width="{width:.2f}" stroke-linejoin="round"'
  return f'<polyline points="{text}" {style}{more}/>'


def _box(box: np.ndarray, colour: str) -> str:
  x, y, heading, length, width = (float(value) for value in box)
  turn = f'transform="translate({x:.2f},{y:.2f}) rotate({np.degrees(heading):.1f})"'
  return f"<g {turn}>{body(length, width, colour)}</g>"


def body(length: float, width: float, colour: str) -> str:
  """A vehicle at the origin that points along +x, its windscreen bright."""
  return _rectangle(-length / 2, width, length, colour) + _rectangle(
    length * 0.15, width * 0.8, length * 0.12, "#dfe6ee"
  )


def _rectangle(x: float, width: float, length: float, colour: str) -> str:
  return f'<rect x="{x:.2f}" y="{-width / 2:.2f}" width="{length:.2f}" height="{width:.2f}" fill="{colour}"/>'
