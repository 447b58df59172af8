"""Tokenisers: exact round trips, bounds that are reached, exact counts, and what is refused."""

import ast
import dataclasses
import math
import pathlib
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import motion, tokens
from data.codes import COMMAVQ
from data.errors import BadInput
from data.grid_tokens import GridTokens
from data.learned_tokens import LearnedTokens
from data.patches import Patches
from data.tokens import Tokeniser, Tokens
from data.vector_tokens import ActionTokens, Field, VectorTokens, box_tokens, classes, polyline_tokens
from data.voxels import Voxels
from tests.bev_tokenisers import FINITE, LEARNED, learned_tokens

PILLARS = Voxels(low=(0.0, -4.0, -2.0), size=(0.5, 1.0, 4.0), counts=(8, 8, 1), capacity=6)
BOXES = box_tokens(slots=3, reach=50.0, bins=64, kinds=5)
LINES = polyline_tokens(elements=2, points=4, reach=30.0, bins=32, kinds=3)


# Name to what makes the tokeniser, and its tokens per frame, counted by hand.
ALL: dict[str, tuple[Callable[[], Tokeniser], Fraction]] = {
  "video": (lambda: Patches(8, 12, 3, patch=4, frames=2), Fraction(2 * 3, 2)),
  "images": (lambda: Patches(8, 12, 3, patch=4, frames=1), Fraction(2 * 3)),
  "cells": (lambda: GridTokens(4, 6, 9), Fraction(4 * 6)),
  "commavq": (lambda: COMMAVQ, Fraction(128)),
  "vq": (lambda: learned_tokens(LEARNED), Fraction(2 * 2)),
  "fsq": (lambda: learned_tokens(FINITE), Fraction(2 * 2)),
  "pillars": (lambda: PILLARS, Fraction(6)),
  "boxes": (lambda: BOXES, Fraction(3 * 8)),
  "lines": (lambda: LINES, Fraction(2 * (1 + 4 * 2))),
  "actions": (ActionTokens, Fraction(1)),
}
EXACT = {"video", "images", "cells", "commavq"}  # bit for bit
PROJECTED = {"boxes", "lines", "actions"}  # what comes back has the same tokens once more


def example(tokeniser, rng, steps: int) -> np.ndarray:
  """A random input of `steps` frames that has tokens everywhere, with one leading axis of 2."""
  if isinstance(tokeniser, Patches):
    return rng.integers(0, 256, (2, steps, 8, 12, 3)).astype(np.uint8)
  if isinstance(tokeniser, GridTokens):
    frames = (2, steps, tokeniser.height, tokeniser.width)
    return rng.integers(0, tokeniser.classes, frames).astype(np.uint16)
  if isinstance(tokeniser, LearnedTokens):
    return rng.integers(0, tokeniser.shape.classes, (2, steps, *[tokeniser.shape.grid] * 2)).astype(np.uint8)
  if isinstance(tokeniser, Voxels):
    return rng.uniform([0, -4, -2, 0], [4, 4, 2, 1], (2, steps, 6, 4))
  if isinstance(tokeniser, VectorTokens):
    columns = [
      rng.integers(0, f.bins, (2, steps, tokeniser.slots))
      if f.name == "class"
      else rng.uniform(f.low, f.high, (2, steps, tokeniser.slots))
      for f in tokeniser.fields
    ]
    return np.stack(columns, -1)
  spans = (motion.ACCELERATIONS, motion.YAW_RATES)
  return np.stack([rng.uniform(table[0], table[-1], (2, steps)) for table in spans], -1)


@pytest.mark.parametrize("name", ALL)
def test_every_tokeniser_keeps_the_one_contract(name):
  """Shapes, ids below the vocabulary, exact counts, and what comes back."""
  make, per_frame = ALL[name]
  tokeniser = make()
  array = example(tokeniser, np.random.default_rng(0), 4)
  made = tokeniser.encode(array)
  assert tokeniser.tokens_per_frame == per_frame
  count = tokens.count(tokeniser, 4)
  assert count == 4 * per_frame
  assert made.values.shape[:2] == made.mask.shape == made.positions.shape[:2] == (2, count)
  assert made.mask.dtype == bool and made.positions.dtype == np.int32 and made.dropped == 0
  assert (np.diff(made.positions[:, :, 0], axis=1) >= 0).all()  # frame after frame
  if tokeniser.vocabulary is None:
    assert made.values.ndim == 3
  else:
    assert made.values.dtype == np.int32
    assert made.values.min() >= 0 and made.values.max() < tokeniser.vocabulary
    with pytest.raises(BadInput, match="the vocabulary is"):
      tokeniser.decode(dataclasses.replace(made, values=np.full_like(made.values, tokeniser.vocabulary)))
  once = tokeniser.decode(made)
  assert once.shape[:2] == (2, 4)
  if not isinstance(tokeniser, Voxels):  # a point of each voxel comes back, not each point
    assert once.shape == array.shape
  if name in EXACT:
    np.testing.assert_array_equal(once, array)
  if name in PROJECTED:
    np.testing.assert_array_equal(tokeniser.encode(once).values, made.values)


def test_no_tokeniser_is_left_out():
  """Every class of data/ that counts tokens per frame, and so claims the contract, is walked over above."""
  claimed = set()
  for path in sorted(pathlib.Path(tokens.__file__).parent.glob("*.py")):
    tree = ast.parse(path.read_text())
    for one in (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name != "Tokeniser"):
      if any(isinstance(part, ast.FunctionDef) and part.name == "tokens_per_frame" for part in one.body):
        claimed.add(one.name)
  assert claimed == {type(make()).__name__ for make, _ in ALL.values()}


def test_counts_are_exact():
  assert GridTokens(64, 64, 12).tokens_per_frame == 4096
  assert GridTokens(128, 128, 12).tokens_per_frame == 16384
  assert tokens.count(GridTokens(128, 128, 12), 8) == 131072
  assert Patches(64, 96, 3, patch=8, frames=1).tokens_per_frame == 96
  tubelets = Patches(8, 8, 3, patch=8, frames=2)
  assert tubelets.tokens_per_frame == Fraction(1, 2)
  assert tokens.count(tubelets, 6) == 3
  with pytest.raises(BadInput, match="5 frames make 5/2 tokens"):
    tokens.count(tubelets, 5)
  assert BOXES.tokens_per_frame == 3 * 8
  assert BOXES.vocabulary == 7 * 64 + 5


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 9999))
def test_patches_come_back_bit_for_bit(patch, frames, rows, columns, seed):
  images = np.random.default_rng(seed).normal(size=(2 * frames, rows * patch, columns * patch, 2))
  cut = Patches(rows * patch, columns * patch, 2, patch, frames)
  made = cut.encode(images)
  np.testing.assert_array_equal(cut.decode(made), images)
  # The token at (tubelet, row, column) holds exactly that piece of the video.
  at = int(np.random.default_rng(seed).integers(len(made.values)))
  t, i, j = made.positions[at]
  piece = images[t * frames :][:frames, i * patch :][:, :patch, j * patch :][:, :, :patch]
  np.testing.assert_array_equal(made.values[at], piece.ravel())


def test_cells_are_their_own_tokens():
  cells = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
  made = GridTokens(3, 4, 24).encode(cells)
  np.testing.assert_array_equal(made.values, np.arange(24))
  np.testing.assert_array_equal(made.positions[17], [1, 1, 1])
  np.testing.assert_array_equal(GridTokens(3, 4, 24).decode(made), cells)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_point_is_never_further_than_half_a_voxel_from_its_token(seed):
  points = np.random.default_rng(seed).uniform([0, -4, -2], [4, 4, 2], (100, 3))
  ids, inside = PILLARS.voxel_of(points)
  assert inside.all()
  assert (np.abs(PILLARS.centres(ids) - points) <= np.asarray(PILLARS.max_error) + 1e-6).all()


def test_the_bound_of_a_voxel_is_reached_in_its_corner():
  corner = np.array([[0.5, 1.0, -2.0]])
  ids, inside = PILLARS.voxel_of(corner)
  assert inside.all()
  np.testing.assert_array_equal(np.abs(PILLARS.centres(ids) - corner)[0], PILLARS.max_error)


def test_points_outside_and_beyond_the_capacity_are_counted():
  points = np.zeros((1, 12, 4), np.float32)
  points[0, :8, 0] = np.arange(8) / 2 + 0.25  # one in each of eight pillars in a row; six have room
  points[0, 8, 0] = 3.75  # a second one in the last
  points[0, 9, 0] = 4.0  # the upper edge is outside
  points[0, 10, 0] = np.nan
  echo = np.ones((1, 12), bool)
  echo[0, 11] = False  # not there: neither a token nor counted
  made = PILLARS.encode(points, echo)
  assert made.dropped == 2 + 3
  assert made.mask.all()
  np.testing.assert_allclose(PILLARS.decode(made)[0, :, 0], np.arange(6) / 2 + 0.25)
  held = PILLARS.occupancy(points, echo)
  assert held.shape == (1, 8, 8, 1) and held.sum() == 8
  few = PILLARS.encode(points[:, :2])
  assert few.mask.sum() == 2 and np.isnan(PILLARS.decode(few)[0, 2:]).all()


def test_every_voxel_has_its_own_token():
  grid = Voxels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (2, 3, 4), 24)
  ids = np.arange(24)
  again, inside = grid.voxel_of(grid.centres(ids))
  assert inside.all()
  np.testing.assert_array_equal(again, ids)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_boxes_and_lines_keep_their_stated_errors(seed):
  for tokeniser in (BOXES, LINES):
    rows = example(tokeniser, np.random.default_rng(seed), 2)
    again = tokeniser.decode(tokeniser.encode(rows))
    for i, field in enumerate(tokeniser.fields):
      error = np.abs(again[..., i] - rows[..., i])
      bound = 0.0 if field.name == "class" else field.max_error + 1e-12
      assert error.max() <= bound, field


def test_the_bound_of_a_field_is_reached_at_the_edge_of_a_bin():
  field = Field("x", -8.0, 8.0, 16)
  bins, fits = field.encode(np.array([-8.0, 3.0, 8.0]))
  assert fits.all()
  np.testing.assert_array_equal(np.abs(field.decode(bins) - [-8.0, 3.0, 8.0]), field.max_error)


def test_an_angle_is_wrapped_and_nothing_else():
  yaw = Field("yaw", -math.pi, math.pi, 64, periodic=True)
  angles = np.linspace(-9, 9, 500)
  bins, fits = yaw.encode(angles)
  assert fits.all()
  error = np.abs(motion.wrap(yaw.decode(bins) - angles))
  assert error.max() <= yaw.max_error + 1e-12
  assert not Field("x", -1.0, 1.0, 8).encode(np.array([1.1, np.nan, -1.1]))[1].any()


def test_a_row_out_of_range_is_masked_and_counted():
  rows = np.zeros((1, 3, 8))
  rows[0, :, 3:6] = 1.0
  rows[0, 0, 0] = 51.0
  rows[0, 1, 0] = 52.0
  made = BOXES.encode(rows, np.array([[True, False, True]]))
  assert made.dropped == 1  # the absent one is not missed
  np.testing.assert_array_equal(made.mask.reshape(3, 8).all(-1), [False, False, True])
  assert np.isnan(BOXES.decode(made)[0, :2]).all()


def test_fields_have_vocabularies_of_their_own():
  pair = VectorTokens((classes("a", 3), classes("b", 2)), 1)
  made = pair.encode(np.array([[[2, 0]], [[0, 1]]]))
  np.testing.assert_array_equal(made.values, [2, 3, 0, 4])
  np.testing.assert_array_equal(made.positions, [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]])
  swapped = Tokens(made.values[[1, 0, 2, 3]], made.mask, made.positions, 0)
  with pytest.raises(BadInput, match="2 tokens are of another field"):
    pair.decode(swapped)


def test_actions_are_motion_tokens():
  every = np.arange(motion.VOCABULARY)
  actions = np.stack(motion.split(every), -1)
  made = ActionTokens().encode(actions)
  np.testing.assert_array_equal(made.values, every)
  np.testing.assert_array_equal(ActionTokens().decode(made), actions)
  worst = np.array([[-5.9, 0.0], [0.0, 1.0]])  # the middles of the widest gaps: -7.0 to -4.8, 0.8 to 1.2
  error = np.abs(ActionTokens().decode(ActionTokens().encode(worst)) - worst).max(0)
  np.testing.assert_allclose(error, ActionTokens().max_error, atol=1e-6)
  assert ActionTokens().encode(np.array([[-8.2, 0.0], [0.0, 1.5]])).dropped == 2


@pytest.mark.parametrize(
  ("tokeniser", "array", "what"),
  [
    (Patches(8, 8, 3, 4, 1), np.zeros((2, 8, 9, 3)), "shape"),
    (Patches(8, 8, 3, 4, 2), np.zeros((3, 8, 8, 3)), "3 frames"),
    (Patches(8, 8, 3, 4, 1), np.zeros((2, 8, 8, 3), bool), "bool"),
    (GridTokens(4, 4, 3), np.zeros((1, 4, 4)), "float64"),
    (GridTokens(4, 4, 3), np.full((1, 4, 4), 3), "vocabulary is 3"),
    (GridTokens(4, 4, 3), np.zeros((4, 4), int), "shape"),
    (PILLARS, np.zeros((1, 5, 2)), "shape"),
    (PILLARS, np.zeros((1, 5, 3), int), "int64"),
    (BOXES, np.zeros((1, 3, 7)), "shape"),
    (ActionTokens(), np.zeros((4, 3)), "shape"),
  ],
)
def test_wrong_shapes_and_dtypes_are_refused_in_one_sentence(tokeniser, array, what):
  with pytest.raises(BadInput, match=what):
    tokeniser.encode(array)


def test_tokens_of_another_tokeniser_are_refused():
  made = GridTokens(4, 4, 9).encode(np.full((1, 4, 4), 8))
  with pytest.raises(BadInput, match="vocabulary is 3"):
    GridTokens(4, 4, 3).decode(made)
  with pytest.raises(BadInput, match="a frame has 25"):
    GridTokens(5, 5, 9).decode(made)
  with pytest.raises(BadInput, match="not cut by patches"):
    Patches(9, 8, 3, 4, 1)
