"""The world model over codes: exact factorisation for every mixing, roll-outs drawn from what it says, exact counts."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import codes
from models.codes import CodesModel
from models.codes_config import CodesConfig
from models.trunk_config import UNITS, TrunkConfig

T, S, V, ACTIONS = 3, 4, 11, 3


def _config(mixing="full", reading="full"):
  def trunk(mixing, steps, space):
    size = 4 if mixing in ("state_space", "hybrid") else 0
    return TrunkConfig(
      width=16, layers=len(UNITS[mixing]), head_dim=8, mixing=mixing, state=size, chunk=size, causal=True,
      steps=steps, space=space, dtype="float32", scan=False, remat="none", block=0, adapter=0, prefix=0,
      heads=0, hidden=0,
    )  # fmt: skip

  past, frame = trunk(mixing, T, S + 1), trunk(reading, S, 1)
  return CodesConfig(V, ACTIONS, past, frame)


def _batch(batch=2, seed=0):
  rng = np.random.default_rng(seed)
  return {
    "codes_BxTxS": rng.integers(0, V, (batch, T, S)).astype(np.uint16),
    "actions_BxT": rng.integers(0, ACTIONS, (batch, T)).astype(np.uint16),
  }


def _params(config):
  """Parameters that are nowhere zero, as after training: fresh ones silence attention. Recurrences forget slowly."""
  shapes = nn.unbox(jax.eval_shape(CodesModel(config).init, jax.random.key(0), _batch())["params"])
  rng = np.random.default_rng(1)

  def fill(path, p):
    mean = -4.0 if path[-1].key == "rate_scale" else 1.0 if len(p.shape) == 1 else 0.0
    return jnp.float32(rng.normal(mean, 0.3, p.shape))

  return jax.tree_util.tree_map_with_path(fill, shapes)


@pytest.mark.parametrize("mixing", UNITS)
def test_no_code_sees_itself_or_a_later_one(mixing):
  """Every code and every action is changed in turn: only what comes after it may move, and the next of it must."""
  config = _config(mixing, mixing)
  params, one = _params(config), _batch(1)
  batch = {name: np.repeat(value, 1 + T * S + T, 0) for name, value in one.items()}
  for place in range(T * S):
    changed = batch["codes_BxTxS"][1 + place].reshape(-1)
    changed[place] = (changed[place] + 1) % V
  for t in range(T):
    changed = batch["actions_BxT"][1 + T * S + t]
    changed[t] = (changed[t] + 1) % ACTIONS
  logits = jax.jit(lambda b: CodesModel(config).apply({"params": params}, b))(batch)
  moved = np.abs(logits - logits[:1])[..., :V].max(-1).reshape(-1, T * S)[1:] > 0
  for place in range(T * S):
    assert not moved[place, : place + 1].any()
    if place + 1 < T * S:
      assert moved[place, place + 1], "the code before is not seen"
    if place < (T - 1) * S:
      assert moved[place, (place // S + 1) * S :].all(), "a frame is not seen whole"
  for t in range(T):
    assert not moved[T * S + t, : t * S].any()
    assert moved[T * S + t, t * S :].all()


@pytest.mark.parametrize("mixing", UNITS)
def test_frame_by_frame_and_code_by_code_with_a_cache_is_the_whole_window(mixing):
  """Two frames first and then one, their codes place after place: the logits of the whole window to 1e-5."""
  config = _config(mixing, mixing)
  deep = {"scan": True, "layers": 2 * config.past.layers}
  config = dataclasses.replace(
    config, past=dataclasses.replace(config.past, **deep), frame=dataclasses.replace(config.frame, **deep)
  )
  model, params, batch = CodesModel(config), _params(config), _batch()
  frames, actions = batch["codes_BxTxS"].astype(np.int32), batch["actions_BxT"].astype(np.int32)

  def step(method):
    return jax.jit(
      lambda cache, at, *inputs: model.apply(
        {"params": params, "cache": cache}, *inputs, at, method=method, mutable=["cache"]
      )
    )

  look_back, read = step("look_back"), step("read")
  first, kept = look_back({}, 0, frames[:, :2], actions[:, :2])
  last, _ = look_back(kept["cache"], 2, frames[:, 2:], actions[:, 2:])
  said = np.concatenate([first, last], 1)
  context = model.apply({"params": params}, said, method="ahead")
  whole = jax.jit(lambda: model.apply({"params": params}, frames, actions, method="look_back"))()
  np.testing.assert_allclose(said, whole, rtol=0, atol=1e-5)
  cache, logits = {}, []
  for place in range(S):
    unknown = np.where(np.arange(S) < place, frames, 0)
    one, kept = read(cache, place, context, unknown, actions)
    cache = kept["cache"]
    logits.append(one)
  expected = jax.jit(lambda: model.apply({"params": params}, batch))()
  np.testing.assert_allclose(np.concatenate(logits, 2)[..., :V], expected[..., :V], rtol=0, atol=1e-5)
  assert np.ptp(expected[..., :V]) > 1


def test_codes_past_the_vocabulary_are_impossible():
  config = _config()
  logits = CodesModel(config).apply({"params": _params(config)}, _batch())
  assert logits.shape == (2, T, S, 64)
  np.testing.assert_array_equal(jax.nn.softmax(logits)[..., V:], 0)


def test_a_drawn_frame_has_the_probability_that_teacher_forcing_gives_it():
  config, given = _config(), _batch()
  model, params = CodesModel(config), _params(config)
  history = (given["codes_BxTxS"][:, :-1].astype(np.int32), given["actions_BxT"][:, :-1].astype(np.int32))
  action = jnp.asarray(given["actions_BxT"][:, -1].astype(np.int32))
  frame, logs = jax.jit(lambda key: codes.next_frame(model, params, *history, action, key))(jax.random.key(0))
  forced = given | {"codes_BxTxS": np.concatenate([history[0], frame[:, None]], 1)}
  expected = jax.nn.log_softmax(model.apply({"params": params}, forced)[:, -1])
  np.testing.assert_allclose(
    logs, np.take_along_axis(np.asarray(expected), np.asarray(frame)[..., None], -1)[..., 0], rtol=1e-4
  )
  assert frame.min() >= 0 and frame.max() < V


def test_frames_are_drawn_as_often_as_the_model_says():
  """4,000 draws of a frame: the first two codes have the model's joint probabilities within 5 standard errors."""
  config, draws = _config(), 4000
  model, params = CodesModel(config), _params(config)
  one = {name: np.repeat(value, draws, 0) for name, value in _batch(1).items()}
  history = (one["codes_BxTxS"][:, :-1], one["actions_BxT"][:, :-1])
  action = jnp.asarray(one["actions_BxT"][:, -1])
  frame, _ = jax.jit(lambda key: codes.next_frame(model, params, *history, action, key))(jax.random.key(1))
  every = {name: np.repeat(value[:1], V, 0) for name, value in one.items()}
  every["codes_BxTxS"][:, -1, 0] = np.arange(V)
  logs = jax.nn.log_softmax(model.apply({"params": params}, every)[:, -1])
  joint = np.exp(np.asarray(logs[0, 0, :V])[:, None] + np.asarray(logs[:, 1, :V]))
  found = np.zeros((V, V))
  np.add.at(found, (np.asarray(frame[:, 0]), np.asarray(frame[:, 1])), 1 / draws)
  assert joint.sum() == pytest.approx(1, abs=1e-4)
  assert (np.abs(found - joint) < 5 * np.sqrt(joint / draws) + 2 / draws).all()


def test_a_roll_out_of_likeliest_codes_is_the_likeliest_given_itself():
  """Teacher forcing on the written window names every written code as the likeliest; observed frames stay."""
  config, given = _config(), _batch()
  model, params = CodesModel(config), _params(config)
  written = jax.jit(
    lambda codes_BxTxS, actions_BxT: codes.roll_out(
      model, params, codes_BxTxS, actions_BxT, 1, jax.random.key(0), temperature=0.0
    )
  )(given["codes_BxTxS"], given["actions_BxT"])
  np.testing.assert_array_equal(written[:, 0], given["codes_BxTxS"][:, 0])
  logits = model.apply({"params": params}, given | {"codes_BxTxS": written})
  np.testing.assert_array_equal(logits[:, 1:].argmax(-1), written[:, 1:])


def test_a_roll_out_beyond_the_window_is_refused():
  config, given = _config(), _batch()
  codes_BxTxS = np.repeat(given["codes_BxTxS"], 2, 1)
  with pytest.raises(ValueError, match="of 6 frames observed, of 3 at most"):
    codes.roll_out(CodesModel(config), {}, codes_BxTxS, codes_BxTxS[..., 0], 1, jax.random.key(0))


def test_counting_tokens_is_exact():
  """64 x 64 cells are 4,096 tokens a frame, 128 x 128 are 16,384, and eight such frames 131,072."""
  from data.codes import CodesConfig as Windows

  for cells, frames, tokens in ((64, 1, 4096), (128, 1, 16384), (128, 8, 131072)):
    windows = Windows(steps=frames, places=cells**2, codes=11, actions=256)
    empty = {name: np.zeros(shape, dtype) for name, (shape, dtype) in windows.spec.items()}
    assert windows.tokens(empty) == 0
    assert windows.tokens(empty | {"mask_T": np.ones(frames, bool)}) == tokens
    assert empty["codes_TxS"].size == tokens


def test_shapes_that_do_not_fit_together_are_refused():
  config = _config()
  with pytest.raises(ValueError, match="S = 5 steps of frame"):
    dataclasses.replace(config, frame=dataclasses.replace(config.frame, steps=5))
  with pytest.raises(ValueError, match="causal"):
    dataclasses.replace(config, past=dataclasses.replace(config.past, causal=False))
