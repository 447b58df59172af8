"""Forecast metrics against the libraries of Argoverse 2 and nuScenes: stored answers, and av2 where it is installed."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluation.metrics import displacement, joint, nuscenes
from tests.evaluation.metrics import av2_oracle, nuscenes_oracle

TOLERANCE = 1e-6
STORED = json.loads(av2_oracle.GOLDEN.read_text())


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


@jax.jit
def ours(forecast, truth, probability, valid):
  """The same quantities as av2_oracle.answers mode by mode; then what is reported of agents and of worlds."""
  everywhere, keep = jnp.ones_like(valid), jnp.ones(len(valid), bool)
  ade, fde = (
    jax.vmap(f, (0, None, None))(forecast, truth, valid) for f in (displacement.ade, displacement.fde)
  )
  world_fde = joint.world_fde(forecast, truth, everywhere, keep)
  modes = {
    "ade": ade,
    "fde": fde,
    "missed": jax.vmap(lambda mode: displacement.missed(mode[None], truth, valid))(forecast),
    "brier_ade": ade + displacement.brier_penalty(probability),
    "brier_fde": fde + displacement.brier_penalty(probability),
    "brier_fde_normalised": fde + displacement.brier_penalty(displacement.normalised(probability)),
    "world_ade": joint.world_ade(forecast, truth, everywhere, keep),
    "world_fde": world_fde,
    "world_brier_fde": world_fde + displacement.brier_penalty(probability[:, :1])[:, 0],
    "world_missed": joint.world_missed(forecast, truth, everywhere, keep),
    "world_collided": joint.world_collided(forecast, everywhere, keep),
  }
  agents = displacement.forecast_errors(forecast, truth, valid, keep)
  agents |= displacement.brier_errors(forecast, probability, truth, valid, keep)
  return modes, agents, joint.joint_errors(forecast, probability[:, 0], truth, everywhere, keep)


def chosen(answers):
  """Sums over agents of what the benchmark reports, chosen from the library's values mode by mode."""
  best = np.argmin(answers["fde"], 0)
  agents = range(len(best))
  names = {"minADE": "ade", "minFDE": "fde", "miss_rate": "missed", "brier_minADE": "brier_ade"}
  names["brier_minFDE"] = "brier_fde"
  return {name: sum(answers[source][best[a]][a] for a in agents) for name, source in names.items()}


def compare(scene, answers):
  forecast, truth, probability = (
    np.asarray(scene[name], float) for name in ("forecast", "truth", "probability")
  )
  valid = np.asarray(scene["valid"])
  modes, agents, joint = ours(forecast, truth, probability, valid)
  for name, value in modes.items():
    np.testing.assert_allclose(np.asarray(value, float), np.asarray(answers[name], float), atol=TOLERANCE)
  for name, total in chosen(answers).items():
    assert float(agents[name][0]) == pytest.approx(total, abs=TOLERANCE), name
    assert int(agents[name][1]) == len(valid)
  best = int(np.argmin(answers["world_fde"]))
  assert float(joint["worldADE"]) == pytest.approx(answers["world_ade"][best], abs=TOLERANCE)
  assert float(joint["brier_worldFDE"]) == pytest.approx(answers["world_brier_fde"][best], abs=TOLERANCE)
  assert float(joint["world_collision_rate"]) == pytest.approx(np.mean(answers["world_collided"][best]))


@pytest.mark.parametrize("name", av2_oracle.cases())
def test_stored_answers_of_the_library(name):
  kept = STORED["cases"][name]
  compare(kept["scene"], kept["answers"])


def test_the_library_itself_on_random_tracks_and_that_the_stored_answers_are_its_own():
  pytest.importorskip("av2.datasets.motion_forecasting.eval.metrics")
  for name, scene in av2_oracle.cases().items():
    assert av2_oracle.answers(scene) == STORED["cases"][name]["answers"], name
  for seed in range(20):
    scene = av2_oracle.case(seed, 6, 5, 30)
    compare(scene, av2_oracle.answers(scene))


def test_stored_answers_of_the_devkit_of_nuscenes():
  kept = json.loads(nuscenes_oracle.GOLDEN.read_text())["cases"]
  for name, (scene, answers) in {name: one.values() for name, one in kept.items()}.items():
    forecast, truth, probability = (np.array(scene[part]) for part in ("forecast", "truth", "probability"))
    for n, k in enumerate(nuscenes_oracle.TOP):
      found = _top(forecast, probability, truth, k)
      for part, by_agent in answers.items():
        expected = np.array(by_agent, float)[:, n]
        np.testing.assert_allclose(found[part], expected, atol=TOLERANCE, err_msg=f"{name}, {part} of {k}")
    assert 0 < np.mean(np.array(answers["missed"])[:, 1]) < 1, name


@functools.partial(jax.jit, static_argnums=3)
def _top(forecast, probability, truth, k):
  """Agent by agent: each alone as the one that counts."""
  agents = len(truth)

  def alone(a):
    keep = jnp.arange(agents) == a
    pairs = nuscenes.top_errors(forecast, probability, truth, jnp.ones(truth.shape[:2], bool), keep, k)
    return {name: pairs[f"top_{name}_{k}"][0] for name in ("ade", "fde", "missed")}

  return jax.vmap(alone)(jnp.arange(agents))
