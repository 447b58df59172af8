"""The kinematic bicycle that the egos are: steered about the centre of the box, limited by tyres and actuators.

With l_r from rear axle to centre, curvature k and slip angle b of the centre's path, heading psi and speed v,

  sin b = l_r k        x' = v cos(psi + b)     y' = v sin(psi + b)     psi' = v k     v' = a

(R. Rajamani, "Vehicle Dynamics and Control", 2nd ed., 2012, section 2.2; kinematic, so the tyres do not slip). The
tyres bear a^2 + (v^2 k)^2 <= (mu g)^2: the brake comes first, steering has what is left. A driver asks for an
acceleration and for a course, the direction in which the centre shall travel; the curvature that takes it there in
one step is k = (course - psi) / (l_r + v dt), which is a trailer pulled at the box's centre, and so never swings.
"""

import dataclasses

import numpy as np

from data.motion import wrap

GRAVITY = 9.81  # m/s^2
_REAR, _WHEELBASE = 0.3, 0.6  # of the length: from rear axle to centre, between the axles
_STEER, _STEER_RATE = 0.6, 0.9  # rad, rad/s of the front wheels
_DRIVE, _TOP = 4.0, 60.0  # m/s^2 and m/s that the engine gives at most
_JERK = 30.0  # m/s^3 that brakes and engine build up at most


@dataclasses.dataclass(frozen=True)
class Cars:
  """E cars. pose_Ex3: centre x, y in m and heading in rad. speed_E: m/s. steer_E: rad. acceleration_E: m/s^2.
  length_E: m. All float64."""

  pose_Ex3: np.ndarray
  speed_E: np.ndarray
  steer_E: np.ndarray
  acceleration_E: np.ndarray
  length_E: np.ndarray


def with_straight_wheels(pose_Ex3, speed_E, length_E) -> Cars:
  """Cars with straight wheels that keep their speed."""
  still = np.zeros(len(speed_E))
  return Cars(pose_Ex3.astype(np.float64), speed_E.astype(np.float64), still, still, length_E)


def course(cars: Cars) -> np.ndarray:
  """rad [E]: the direction in which the centres travel."""
  return cars.pose_Ex3[:, 2] + np.arcsin(_curvature(cars) * _REAR * cars.length_E)


def drive(cars: Cars, acceleration_E: np.ndarray, course_E: np.ndarray, friction: float, dt: float) -> Cars:
  """One step of `dt` s towards an acceleration in m/s^2 and a course in rad. NaN in a command stays NaN."""
  speed, heading, rear = cars.speed_E, cars.pose_Ex3[:, 2], _REAR * cars.length_E
  grip = friction * GRAVITY
  change = np.clip(acceleration_E - cars.acceleration_E, -_JERK * dt, _JERK * dt)
  wanted = np.minimum((_TOP - speed) / dt, np.minimum(cars.acceleration_E + change, _DRIVE))
  acceleration = np.maximum(wanted, -grip)
  curvature = wrap(course_E - heading) / (rear + speed * dt)
  hold = np.sqrt(np.maximum(grip**2 - acceleration**2, 0.0)) / np.maximum(speed**2, 1e-3)
  steer = np.arctan(np.clip(curvature, -hold, hold) * _WHEELBASE * cars.length_E)
  turn = _STEER_RATE * dt
  steer = np.clip(np.clip(steer, cars.steer_E - turn, cars.steer_E + turn), -_STEER, _STEER)
  after = np.maximum(speed + acceleration * dt, 0.0)
  acceleration = np.where(after > 0, acceleration, np.maximum(acceleration, -speed / dt))
  cars = dataclasses.replace(cars, steer_E=steer, acceleration_E=acceleration)
  curvature, distance = _curvature(cars), 0.5 * (speed + after) * dt
  way = heading + np.arcsin(curvature * rear) + 0.5 * curvature * distance
  pose = np.stack(
    [
      cars.pose_Ex3[:, 0] + distance * np.cos(way),
      cars.pose_Ex3[:, 1] + distance * np.sin(way),
      wrap(heading + curvature * distance),
    ],
    -1,
  )
  return dataclasses.replace(cars, pose_Ex3=pose, speed_E=after)


def _curvature(cars: Cars) -> np.ndarray:
  """1/m [E] of the centre's path. The front wheel's share of the slip angle is left out: below 2 % of it."""
  return np.tan(cars.steer_E) / (_WHEELBASE * cars.length_E)
