"""The real US-101 logs as traces, read once for all tests of a process."""

import functools
import pathlib

from data import commonroad, traces


@functools.cache
def read_traces(directory: pathlib.Path) -> list[traces.Trace]:
  return [traces.trace(commonroad.read(path)) for path in commonroad.find(directory)]
