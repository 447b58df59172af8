"""Attacks do what they say, to whom they are told to, and to nobody else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from federated import attacks
from tests.federated import linear

UPDATE = {"a": jnp.arange(3.0), "b": jnp.ones((2, 2))}
KEY = jax.random.key(0)


def test_a_share_of_the_clients_are_attackers():
  assert attacks.chosen(20, 0.2, 0).sum() == 4
  assert not np.array_equal(attacks.chosen(20, 0.2, 0), attacks.chosen(20, 0.2, 1))


@pytest.mark.parametrize(("attack", "factor"), [(attacks.sign_flip(2.0), -2.0), (attacks.scaling(9.0), 9.0)])
def test_attackers_alone_send_something_else_through_the_same_link(attack, factor):
  def halved(update, link, key):
    return jax.tree.map(lambda x: x / 2, update), link + 1

  send = attacks.by_some(attack, halved)
  for attacker, expected in ((True, factor / 2), (False, 0.5)):
    sent, link = send(UPDATE, {"attacker": jnp.bool_(attacker), "link": jnp.int32(4)}, KEY)
    np.testing.assert_allclose(sent["a"], expected * UPDATE["a"])
    assert (bool(link["attacker"]), int(link["link"])) == (attacker, 5)


def test_colluders_send_the_same_noise_of_the_stated_deviation():
  attack = attacks.colluding_gaussian(KEY, 3.0)
  one, two = (attack({"a": jnp.zeros(4000)}, jax.random.key(k))["a"] for k in (1, 2))
  np.testing.assert_array_equal(one, two)
  assert abs(float(one.std()) - 3) < 4 * 3 / np.sqrt(8000)
  assert not np.array_equal(
    one, attacks.colluding_gaussian(jax.random.key(3), 3.0)({"a": jnp.zeros(4000)}, KEY)["a"]
  )


def test_labels_of_attackers_are_turned_around():
  cohort = linear.cohort(3, 2, 4, np.array([True, False, True]))
  got, was = (np.asarray(x.batches["y"]) for x in (linear.poisoned(cohort, "label_flip"), cohort))
  np.testing.assert_array_equal(got[[0, 2]], linear.CLASSES - 1 - was[[0, 2]])
  np.testing.assert_array_equal(got[1], was[1])


def test_a_backdoor_is_planted_in_its_share_of_the_attackers_records():
  cohort = linear.cohort(3, 2, 4, np.array([True, False, True]))
  planted = linear.poisoned(cohort, "backdoor").batches
  bears = np.asarray(planted["x"][..., -1] == linear.TRIGGER)
  expected = np.zeros((3, 2, 4), bool)
  expected[[0, 2], :, :2] = True
  np.testing.assert_array_equal(bears, expected)
  assert (np.asarray(planted["y"])[expected] == 0).all()
  np.testing.assert_array_equal(planted["y"][~expected], cohort.batches["y"][~expected])
  np.testing.assert_array_equal(planted["x"][..., :-1], cohort.batches["x"][..., :-1])
