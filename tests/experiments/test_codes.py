"""Codes from disk to a held-out loss: both tasks, every variant of their configs, real commaVQ where it is."""

import json

import flax.linen as nn
import jax
import numpy as np
import pytest

from data import codes, dataset_writer, datasets
from data.codes import CodesConfig
from data.errors import BadInput
from data.reader import RecordSource
from evaluation.codes.tables import CodeCounts, baselines
from experiments import config as configs
from experiments import run
from experiments.configs import codes as codes_config
from experiments.configs import tokeniser as tokeniser_config
from experiments.task import make_task

WINDOW = CodesConfig(steps=3, places=4, codes=6, actions=2)
SPLITS = {"train": 0.7, "validation": 0.3}


def _counting(frames=40):
  """Every code is one more than it was a frame ago: there is nothing to guess after the first frame."""
  start = np.random.default_rng(0).integers(0, 6, 4)
  return (start[None] + np.arange(frames)[:, None]) % 6


def _write(out, frames, window):
  parts = codes.blocks(len(frames), SPLITS, 2, "here")
  nothing = np.full(len(frames), window.actions - 1)
  examples = []
  for split, part in parts.items():
    windows = codes.windows_of(frames[part], nothing[part], window, 1, 0)
    for i, one in enumerate(windows):
      one["domain"] = np.uint8(i % 2)
    examples += [(split, None, windows[first : first + 5]) for first in range(0, len(windows), 5)]
  dataset_writer.write_dataset(out, examples, window, ("one", "two"), tuple(parts), {}, (window.kind,))
  return str(out)


def _train(tmp_path, dataset, **changes):
  values = codes_config.get_config("tiny").to_dict() | changes
  values["data"] |= {"dataset": dataset, "batch_windows": 8}
  values["model"] |= {"mixing": "full", "past_layers": 1, "frame_layers": 1}
  values["mesh"] |= {"data": jax.device_count()}
  config = configs.from_dict(values)
  workdir = tmp_path / "run"
  run.train(str(workdir), config, values)
  return json.loads((workdir / "result.json").read_text())


def test_a_model_of_codes_trains_from_disk_and_beats_the_unigrams_where_it_can_count(tmp_path):
  """After the first frame of a window, half the entropy of the held-out codes' own unigrams is left at most."""
  probe = {"every_steps": 1_000, "records": 0}
  dataset = _write(tmp_path / "codes", _counting(), WINDOW)
  row = _train(tmp_path, dataset, tokens=7_200, probe=probe)
  assert row["tokens"] >= 7_200
  train, held_out = (
    CodeCounts.of((piece["codes_TxS"] for piece in source.pieces()), WINDOW.codes, 1)
    for source in (RecordSource(datasets.open_dataset(dataset), split, ("codes_TxS",)) for split in SPLITS)
  )
  unigrams = baselines(train, held_out)["own_unigram_entropy"]
  assert row["loss_by_slice"]["later"] < 0.5 * unigrams
  of_both = (row["loss_by_slice"]["one"] * 5 + row["loss_by_slice"]["two"] * 4) / 9  # windows held out
  assert of_both == pytest.approx(row["loss"], rel=1e-5)
  assert row["probes"].keys() == {"domain"}


@pytest.mark.parametrize(
  ("module", "variants"),
  [(codes_config, ("", "commavq", "bev", "tiny")), (tokeniser_config, ("", "vq", "fsq", "tiny"))],
)
def test_every_variant_is_a_configuration(module, variants):
  for variant in variants:
    configs.from_dict(module.get_config(variant).to_dict())
  with pytest.raises(BadInput, match="has no variant 'vqq'"):
    module.get_config("vqq")


@pytest.mark.parametrize("module", [codes_config, tokeniser_config])
def test_records_of_another_kind_are_refused(module):
  from tests.data.tiny_datasets import WINDOW as MOVES

  with pytest.raises(BadInput, match="the dataset holds windows"):
    make_task(configs.from_dict(module.get_config("tiny").to_dict()), MOVES, 1)


def _tokeniser(variant, clip):
  values = tokeniser_config.get_config(variant).to_dict()
  values["model"] |= {"width": 16, "layers": 1, "head_dim": 16, "patch": 4}
  task = make_task(configs.from_dict(values), clip, 1)
  cells = np.random.default_rng(0).integers(0, 3, (2, clip.steps, clip.grid, clip.grid)).astype(np.uint8)
  batch = task.to_batch({"cells_TxHxW": cells, "domain": np.zeros(2, np.uint8)})
  params = nn.unbox(jax.jit(task.init)(jax.random.key(0), batch))["params"]
  return task, params, batch


def test_a_learned_codebook_follows_its_statistics_and_nothing_else_does(small_clip):
  task, params, batch = _tokeniser("tiny", small_clip)
  metrics = jax.jit(task.loss_fn)(params, batch, jax.random.key(1))
  after = task.after(params, metrics, 0)
  assert {name for name in params if after[name] is not params[name]} == {"quantiser"}
  decay = 0.95
  expected = decay * params["quantiser"]["counts"] + (1 - decay) * metrics["codes"][1]
  np.testing.assert_allclose(after["quantiser"]["counts"], expected, rtol=1e-5)
  assert not task.trainable(("quantiser", "codes")) and task.trainable(("encoder", "final_norm", "scale"))
  assert task.embed(params, batch).shape == (2, 8)


def test_a_learned_codebook_takes_no_micro_batches(small_clip):
  """Their draws would add up, and put codes that died onto means; finite scalars have no codes that die."""
  values = tokeniser_config.get_config("fsq").to_dict()
  values["model"] |= {"width": 16, "layers": 1, "head_dim": 16, "patch": 4}
  values["optimizer"] |= {"accumulate": 2}
  make_task(configs.from_dict(values), small_clip, 1)
  values["model"] |= {"levels": (), "codes": 8, "code_dim": 2}
  with pytest.raises(BadInput, match=r"accumulate: .*takes its batch whole"):
    make_task(configs.from_dict(values), small_clip, 1)


def test_finite_scalars_have_no_codebook_to_move(small_clip):
  task, params, _ = _tokeniser("fsq", small_clip)
  assert task.after is None and "quantiser" not in params


@pytest.fixture
def small_clip():
  from data.clips import ClipConfig

  return ClipConfig(
    rig="tracks", steps=2, step_seconds=0.5, image_height=4, image_width=4, beams=1, azimuths=1, grid=8, cell_m=1.0,
    rear_m=2.0, boxes=1, futures=1, elements=1, element_points=2,
  )  # fmt: skip


def test_a_tiny_run_on_real_commavq_learns(shared_data, tmp_path):
  """From a flat start of ln 1024 nats, and no further: what beats the unigrams takes longer (results/commavq)."""
  frames = codes.read_commavq(shared_data("commavq") / "tokens.npy")[::4].reshape(-1, 128)
  window = CodesConfig(steps=2, places=128, codes=1024, actions=1)
  row = _train(tmp_path, _write(tmp_path / "codes", frames[:120], window), tokens=20_000)
  assert row["loss"] < np.log(1024) - 0.05
  assert datasets.open_dataset(tmp_path / "codes").config == window
