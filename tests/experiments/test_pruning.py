"""Runs that begin with what pruning leaves of another: which parts stay, and where they go."""

import dataclasses
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from data import datasets
from data.errors import BadInput
from experiments import mesh as meshes
from experiments import pruning
from experiments.config import from_dict
from experiments.configs import motion
from experiments.setup import make_setup
from experiments.task import make_task
from tests.data import tiny_datasets

HEADS, LOST = 4, 2  # the head that does nothing
ATTENTION = ("pair_0", "time", "attention")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  out = tmp_path_factory.mktemp("pruning") / "windows"
  tiny_datasets.write(out, tiny_datasets.scene_examples(8))
  return datasets.open_dataset(out)


def configured(dataset, **changes):
  """changes: of the model, and `other_shapes`."""
  values = motion.get_config("tiny").to_dict()
  values["model"] |= dict(width=8, head_dim=2)
  values["start"]["other_shapes"] = changes.pop("other_shapes", "refuse")
  values["model"] |= changes
  values["data"] |= dict(dataset=str(dataset.path), batch_windows=1, read_threads=0)
  return from_dict(values)


@pytest.fixture(scope="module")
def base(dataset):
  """A run as `run.open_run` opens it, with weights that are nowhere zero, and others where they are planted."""
  config = configured(dataset)
  task = make_task(config, dataset.config, len(dataset.domains))
  shapes = nn.unbox(jax.eval_shape(task.init, jax.random.key(0), task.to_batch(dataset.example())))["params"]
  rng = np.random.default_rng(1)
  weights = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)

  def planted(**scales):
    """A head of the first attention whose weights of a name are multiplied so."""
    flat = flatten_dict(weights)
    for name, scale in scales.items():
      at = (slice(None),) * (0 if name == "o" else 1) + (LOST,)
      flat[*ATTENTION, name] = flat[*ATTENTION, name].copy()
      flat[*ATTENTION, name][at] *= scale
    params = unflatten_dict(flat)
    return types.SimpleNamespace(config=config, task=task, params=params, weights=params)

  return planted


def setup_of(dataset, **changes):
  """On the first device alone."""
  make = meshes.make_mesh
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(meshes, "make_mesh", lambda **axes: make(**axes, devices=jax.devices()[:1]))
    return make_setup(configured(dataset, **changes), dataset)


def kept_heads(base, dataset, **changes) -> list[int]:
  setup = setup_of(dataset, heads=HEADS - 1, **changes)
  _, kept = pruning.pruned(base, setup)
  return kept["/".join(ATTENTION) + " heads"]


def test_a_head_that_says_nothing_is_found_by_taylor_and_by_magnitude_only_where_its_weights_are_small(
  base, dataset
):
  """It reads no value, and would send on what it does not read with the largest weights of all."""
  others = [head for head in range(HEADS) if head != LOST]
  loud, small = base(v=0.0, o=10.0, q=3.0), base(v=0.0, o=0.01, q=0.01, k=0.01)
  assert kept_heads(loud, dataset, other_shapes="taylor") == others
  assert LOST in kept_heads(loud, dataset, other_shapes="magnitude")
  assert kept_heads(small, dataset, other_shapes="magnitude") == others


def test_random_parts_go_by_the_seed(base, dataset):
  first = kept_heads(base(), dataset, other_shapes="random")
  assert len(first) == HEADS - 1 and first == kept_heads(base(), dataset, other_shapes="random")


def test_what_is_left_goes_into_scanned_layers(base, dataset):
  setup = setup_of(dataset, heads=2, hidden=12, scan=True, other_shapes="magnitude")
  left, _ = pruning.pruned(base(), setup)
  assert jax.tree.map(jnp.shape, left) == jax.tree.map(jnp.shape, setup.spec["params"])
  assert "pairs" in left


@pytest.mark.parametrize(
  ("changes", "words"),
  [(dict(width=6), "has 8 of table"), (dict(hidden=40), "32 of mlp .* 40 in the smaller")],
)
def test_a_shape_that_pruning_does_not_lead_to_is_refused(base, dataset, changes, words):
  setup = setup_of(dataset, other_shapes="magnitude", **changes)
  with pytest.raises(BadInput, match=words):
    pruning.pruned(base(), setup)


def test_a_run_that_learned_beside_its_weights_is_refused(base, dataset):
  adapted = base()
  method = dataclasses.replace(adapted.config.adaptation, method="bias")
  adapted.config = dataclasses.replace(adapted.config, adaptation=method)
  setup = setup_of(dataset, other_shapes="magnitude", hidden=16)
  with pytest.raises(BadInput, match="learned by bias"):
    pruning.pruned(adapted, setup)
