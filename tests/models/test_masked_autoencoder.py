"""Models of self-supervision: hidden tokens are not seen, gathers lose nothing, counts are exact, compute falls."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.masked_autoencoder import JointEmbedding, MaskedAutoencoder
from models.perception import PerceptionModel
from models.predictor_config import JointEmbeddingConfig, MaskedAutoencoderConfig
from models.projection import Contrastive, Prototypes
from models.projection_config import ContrastiveConfig, PrototypeConfig
from models.trunk_config import TrunkConfig
from models.visible import encode_visible
from scaling.planning import hlo, program_cost
from tests.sensed import perception_config, sensor_batch

ALL = ("ego", "raster", "lidar", "camera")  # 1 + 4 + 4 + 4 places
PERCEPTION = perception_config("full", ALL, 1, causal=False)
NARROW = TrunkConfig(
  width=8, layers=1, head_dim=4, mixing="full", state=0, chunk=0, causal=False, steps=2, space=13,
  dtype="float32", scan=False, remat="none", block=0, adapter=0, prefix=0, heads=0, hidden=0,
)  # fmt: skip
MASKED = MaskedAutoencoderConfig(PERCEPTION, NARROW, 7)
EMBEDDING = JointEmbeddingConfig(PERCEPTION, NARROW, 7)
CONTRASTIVE = ContrastiveConfig(PERCEPTION, ("raster", "lidar", "camera"), 24, 12)
PROTOTYPES = PrototypeConfig(PERCEPTION, 24, 12, 20, 7, 3)
HIDDEN = np.isin(np.arange(13), [2, 3, 6, 7, 10, 11])  # of each sensor two places; 7 stay visible


def _hide(valid):
  return jnp.broadcast_to(jnp.asarray(HIDDEN)[None, None], valid.shape) & valid


def _params(model, *inputs):
  """Parameters that are nowhere zero, as after training: fresh ones silence attention."""
  shapes = nn.unbox(jax.eval_shape(lambda key: model.init(key, *inputs)["params"], jax.random.key(0)))
  rng = np.random.default_rng(1)
  return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)


def _disturbed(batch):
  """The same clips with another image in a hidden place: the raster's second patch."""
  other = {name: value.copy() for name, value in batch.items()}
  hidden = other["raster_BxTxHxWxC"][:, :, :4, 4:]  # place 2 of the clip
  hidden[:] = 255 - hidden
  return other


@pytest.mark.parametrize("mixing", ["full", "factorised"])
def test_what_is_hidden_does_not_change_what_is_seen(mixing):
  config = perception_config(mixing, ALL, 1, causal=False)
  model, batch = PerceptionModel(config), sensor_batch(config)
  params = _params(model, batch)
  encode = jax.jit(
    lambda batch, hide: nn.apply(lambda m: encode_visible(m, batch, lambda v: hide & v, 7), model)(
      {"params": params}
    )
  )
  hide = np.broadcast_to(HIDDEN, (2, 2, 13))
  seen, again = encode(batch, hide), encode(_disturbed(batch), hide)
  np.testing.assert_array_equal(seen.z_BxTxKxD, again.z_BxTxKxD)
  shown = hide.copy()
  shown[:, :, 2], shown[:, :, 1] = False, True  # the same place visible: now it matters
  before, after = encode(batch, shown), encode(_disturbed(batch), shown)
  assert (np.asarray(before.z_BxTxKxD) != np.asarray(after.z_BxTxKxD)).any()


@pytest.mark.parametrize("mixing", ["full", "factorised"])
def test_gathered_tokens_become_what_they_would_in_place(mixing):
  """Gathering is a saving only: a trunk over all places with the hidden ones invalid says the same."""
  config = perception_config(mixing, ALL, 1, causal=False)
  model, batch = PerceptionModel(config), sensor_batch(config)
  batch["echo_BxTxP"][0, 0] = False  # a step without LiDAR: slots are left over, and places must not slide
  params = _params(model, batch)

  def both(m):
    seen = encode_visible(m, batch, _hide, 7)
    x, valid = m.embed_tokens(batch)
    return seen, m.mix(x, valid & ~_hide(valid)), valid & ~_hide(valid)

  seen, whole, visible = jax.jit(lambda p: nn.apply(both, model)({"params": p}))(params)
  found = np.take_along_axis(np.asarray(seen.z_BxTxKxD), np.minimum(seen.slot_BxTxS, 6)[..., None], axis=2)
  np.testing.assert_allclose(found[visible], np.asarray(whole)[visible], rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(np.asarray(seen.kept_BxTxK).sum(-1), np.asarray(visible).sum(-1))


def test_predictions_of_hidden_places_read_visible_tokens_only():
  model, batch = MaskedAutoencoder(MASKED), sensor_batch(PERCEPTION)
  params = _params(model, batch, _hide)
  apply = jax.jit(lambda batch: model.apply({"params": params}, batch, _hide))
  (predictions, hidden), (again, _) = apply(batch), apply(_disturbed(batch))
  assert {k: v.shape[2:] for k, v in predictions.items()} == MASKED.heads
  np.testing.assert_array_equal(hidden["camera"], np.broadcast_to(HIDDEN[9:], (2, 2, 4)))
  jax.tree.map(np.testing.assert_array_equal, predictions, again)
  seen = batch | {"images_BxTxCxHxWx3": 255 - batch["images_BxTxCxHxWx3"]}
  assert (np.asarray(apply(seen)[0]["raster"]) != np.asarray(predictions["raster"])).any()


def test_views_are_of_their_own_sensor():
  model, batch = Contrastive(CONTRASTIVE), sensor_batch(PERCEPTION)
  batch["echo_BxTxP"][1] = False
  params = _params(model, batch)
  apply = jax.jit(lambda batch: model.apply({"params": params}, batch))
  views, present, _ = apply(batch)
  others, _, _ = apply(_disturbed(batch))
  np.testing.assert_array_equal(present["lidar"], [True, False])
  for name in ("lidar", "camera"):
    np.testing.assert_array_equal(views[name], others[name])
  assert (np.asarray(views["raster"]) != np.asarray(others["raster"])).all()


def test_scores_are_cosines():
  model, batch = Prototypes(PROTOTYPES), sensor_batch(PERCEPTION)
  params = _params(model, batch, _hide, 7)
  scores, _ = jax.jit(lambda p: model.apply({"params": p}, batch, _hide, 7))(params)
  longer = params | {"prototypes": params["prototypes"] * 9}
  again, _ = jax.jit(lambda p: model.apply({"params": p}, batch, _hide, 7))(longer)
  assert np.abs(scores).max() <= 1 + 1e-5
  np.testing.assert_allclose(scores, again, rtol=1e-4, atol=1e-5)


CASES = {
  "masked": (MASKED, MaskedAutoencoder, (_hide,)),
  "masked, wide": (
    dataclasses.replace(MASKED, predictor=dataclasses.replace(NARROW, width=24, layers=2), visible=10),
    MaskedAutoencoder,
    (_hide,),
  ),
  "joint embedding": (EMBEDDING, JointEmbedding, (_hide,)),
  "contrastive": (CONTRASTIVE, Contrastive, ()),
  "prototypes": (PROTOTYPES, Prototypes, (_hide, 7)),
}


@pytest.mark.parametrize("name", CASES)
def test_param_count_is_the_number_of_parameters(name):
  config, model, arguments = CASES[name]
  params = _params(model(config), sensor_batch(PERCEPTION), *arguments)
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == config.param_count()
  assert config.non_embedding_params() == PERCEPTION.non_embedding_params()


def _compiled_flops(apply, params, batch) -> float:
  lowered = jax.jit(apply).lower(params, batch)
  # The products are those of any level; nothing is run.
  program = lowered.compile(compiler_options={"xla_backend_optimization_level": 0}).as_text()
  return program_cost.cost(hlo.parse(program)).flops / 2  # clips


@pytest.mark.parametrize("name", CASES)
def test_flops_are_what_the_compiler_multiplies(name):
  """Within 1 %: the gradient by the weights of what is trained, and a teacher's forward pass."""
  config, kind, arguments = CASES[name]
  model, batch = kind(config), sensor_batch(PERCEPTION)
  params = _params(model, batch, *arguments)

  def loss(params, batch):
    answers = jax.tree.leaves(model.apply({"params": params}, batch, *arguments))
    return sum((x**2).sum() for x in answers if jnp.issubdtype(x.dtype, jnp.floating))

  training = _compiled_flops(jax.value_and_grad(loss), params, batch)
  if name == "joint embedding":
    teacher = lambda p, b: PerceptionModel(PERCEPTION).apply({"params": p["encoder"]}, b)  # noqa: E731
    training += _compiled_flops(teacher, params, batch)
  elif name == "prototypes":
    everything = lambda p, b: model.apply({"params": p}, b, jnp.zeros_like, 13)  # noqa: E731
    training = config.views * training + _compiled_flops(everything, params, batch)
  counted = config.flops_per_token() - config.stem_flops_per_token()
  assert training / (2 * 13) == pytest.approx(counted, rel=0.01)


def test_fewer_visible_tokens_cost_less():
  few, many = PERCEPTION.forward_flops(3), PERCEPTION.forward_flops(12)
  none = PERCEPTION.forward_flops(0)
  assert 4 * (few - none) < many - none  # attention falls with the square


def test_shapes_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match="2 steps of 12 places, the encoder 2 of 13"):
    dataclasses.replace(MASKED, predictor=dataclasses.replace(NARROW, space=12))
  with pytest.raises(ValueError, match="14 visible tokens of 13"):
    dataclasses.replace(MASKED, visible=14)
  with pytest.raises(ValueError, match="radar"):
    dataclasses.replace(CONTRASTIVE, views=("raster", "radar"))
