"""TPU slices by name: which exist, which is nearest, how their axes close, what libtpu says of them."""

import importlib.util
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.errors import BadInput
from scaling.planning import planner, slices

needs_libtpu = pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed (make tpu)"
)


@pytest.mark.parametrize(
  ("name", "chips"),
  [("v6e:1x1", 1), ("v5e:2x2", 4), ("v6e:16x16", 256), ("v5p:16x16x16", 4096), ("v5p:16x16x24", 6144)],
)
def test_slices_from_one_chip_to_the_largest(name, chips):
  assert slices.parse(name).chips == chips


@pytest.mark.parametrize(
  ("name", "words"),
  [
    ("v5x:4x4", "no chip 'v5x'; choose v5[ep]:"),
    ("v5e:5x5", "no slice '5x5' of v5e; did you mean v5e:4x4"),
    ("v5e:16x8", "did you mean v5e:8x16"),
    ("v5p:16x16", "did you mean v5p:4x8x12"),
    ("v5p:16x16x17", "did you mean v5p:16x16x16"),
    ("v5p:16x20x28", "did you mean v5p:16x16x24"),
    ("v5e:3x5", "did you mean v5e:4x4"),
    ("v6e", "v6e is a chip, not a slice; did you mean v6e:16x16"),
    ("v5e:0x4", "did you mean v5e:2x2"),
    ("", "no chip ''"),
  ],
)
def test_a_slice_that_nobody_rents_out_is_answered_with_the_nearest(name, words):
  with pytest.raises(BadInput, match=words):
    slices.parse(name)


def test_only_full_axes_close_to_rings():
  wide = slices.parse("v5e:8x16")
  assert not wide.ring(0) and wide.ring(1)
  assert not slices.parse("v5p:2x4x4").ring(1)  # not a whole cube
  assert all(slices.parse("v5p:4x4x8").ring(axis) for axis in range(3))


def test_without_libtpu_the_remedy_is_named(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(BadInput, match=r"libtpu.*not installed; say `make tpu`.*requirements/tpu\.txt"):
    slices.devices(slices.parse("v5e:2x2"))


@needs_libtpu
@pytest.mark.parametrize("name", ["v5e:1x1", "v5e:2x4", "v5p:2x2x4", "v6e:4x4"])
def test_libtpu_has_the_chips_where_the_name_says(name):
  slice_ = slices.parse(name)
  devices = slices.devices(slice_)
  places = {tuple(device.coords[: slice_.chip.axes]) for device in devices}
  assert len(devices) == len(places) == math.prod(slice_.shape)
  assert tuple(np.max(list(places), axis=0) + 1) == slice_.shape


@needs_libtpu
@pytest.mark.parametrize("name", ["v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
def test_the_compiler_names_the_memory_of_the_table(name):
  """128 GiB of arguments and as much again of results cannot fit; the error says what would."""
  slice_ = slices.parse(name)
  one = jax.sharding.SingleDeviceSharding(slices.devices(slice_)[0])
  large = jax.ShapeDtypeStruct((2**25, 1024), jnp.float32, sharding=one)
  with pytest.raises(jax.errors.JaxRuntimeError) as error:
    jax.jit(lambda x: 2 * x + 1).lower(large).compile()
  assert planner.required_bytes(str(error.value)) == 256 * 2**30
  assert planner.available_bytes(str(error.value)) == pytest.approx(slice_.chip.hbm, abs=0.01 * 2**30)
