"""Baselines of codes in closed form."""

import numpy as np
import pytest

from evaluation.codes.tables import CodeCounts, baselines


def test_codes_that_never_change_are_copied_for_nothing():
  frames = np.tile(np.arange(8), (40, 5, 1))
  counts = CodeCounts.of([frames], 8, 1)
  found = baselines(counts, counts)
  assert found["own_unigram_entropy"] == pytest.approx(np.log(8))
  assert found["train_unigrams"] == pytest.approx(np.log(8))
  assert found["stays"] == found["stays_train"] == 1
  assert found["copy_or_unigram_later"] == pytest.approx(0, abs=1e-12)


def test_codes_without_memory_cost_what_they_hold_and_copying_no_more():
  p = np.array([0.5, 0.25, 0.25])
  frames = np.random.default_rng(0).choice(3, (2, 4000, 3, 4), p=p)
  found = baselines(*(CodeCounts.of([split], 3, 1) for split in frames))
  entropy = -(p * np.log(p)).sum()
  assert found["own_unigram_entropy"] == pytest.approx(entropy, rel=0.01)
  assert found["train_unigrams"] == pytest.approx(entropy, rel=0.01)
  stays = (p**2).sum()
  assert found["stays"] == pytest.approx(stays, rel=0.02)
  mixed = -(p**2 * np.log((1 - stays) * p + stays)).sum() - (p * (1 - p) * np.log((1 - stays) * p)).sum()
  assert found["copy_or_unigram_later"] == pytest.approx(mixed, rel=0.01)
