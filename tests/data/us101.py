"""The real US-101 logs, read once for all tests of a process."""

import functools
import pathlib

from data import commonroad, traces
from data.schema import Scene


@functools.cache
def read_scenes(directory: pathlib.Path) -> list[Scene]:
  return [commonroad.read(path) for path in commonroad.find(directory)]


@functools.cache
def read_traces(directory: pathlib.Path) -> list[traces.Trace]:
  return [traces.trace(scene) for scene in read_scenes(directory)]
