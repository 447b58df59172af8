"""Contacts: one event each, and whose fault, by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluation.metrics import contacts

DT = 0.1
_EVENTS = jax.jit(functools.partial(contacts.events, dt=DT))
_AT_FAULT = jax.jit(contacts.at_fault)


def starts(*touching):
  contact = np.zeros((60, 1), bool)
  for first, last in touching:
    contact[first : last + 1] = True
  return np.flatnonzero(np.asarray(_EVENTS(contact))[:, 0]).tolist()


def test_a_contact_is_one_event_however_long():
  assert starts() == [] and starts((3, 3)) == [3] and starts((0, 59)) == [0]
  assert starts((5, 9), (11, 30)) == [5]  # parted for a moment
  assert starts((5, 9), (19, 30)) == [5]  # the frame a second before still touched
  assert starts((5, 9), (20, 30)) == [5, 20]


def test_agents_have_their_own_events_and_short_episodes_have_them_too():
  contact = jnp.array([[False, True], [True, True], [False, False]])
  np.testing.assert_array_equal(_EVENTS(contact), [[False, True], [True, False], [False, False]])
  assert contacts.events(jnp.ones((3, 1), bool), 2.0)[:, 0].tolist() == [True, False, False]


def fault(agent, speed=10.0, agent_speed=10.0, astray=False):
  """The ego is 4 x 2 m at the origin, heading east; `agent` is x, y, heading of a box alike."""
  ego = jnp.array([[0.0, 0.0, 0.0, 4.0, 2.0]])
  other = jnp.array([[[*agent, 4.0, 2.0]]])
  judged = _AT_FAULT(ego, jnp.array([speed]), other, jnp.array([[agent_speed]]), jnp.array([astray]))
  return bool(judged[0, 0])


@pytest.mark.parametrize(
  ("what", "case", "expected"),
  [
    ("it runs into the one ahead", {"agent": (3.9, 0.3, 0)}, True),
    ("it is hit from behind in its lane", {"agent": (-3.9, 0.3, 0), "agent_speed": 15.0}, False),
    ("it is hit from behind astride two lanes", {"agent": (-3.9, 0.3, 0), "astray": True}, False),
    ("it is hit while it stands", {"agent": (3.9, 0, np.pi), "speed": 0.0}, False),
    ("it hits one that stands, sideways", {"agent": (0.5, 1.9, 0), "agent_speed": 0.0}, True),
    ("it backs into one that stands", {"agent": (-3.9, 0, 0), "speed": -2.0, "agent_speed": 0.0}, True),
    ("somebody drives into its side", {"agent": (-1.5, 1.9, 0)}, False),
    ("it changes lanes into somebody", {"agent": (-1.5, 1.9, 0), "astray": True}, True),
    ("its front meets one that crosses", {"agent": (2.9, 2.0, -np.pi / 2)}, True),
    ("oncoming traffic in front", {"agent": (3.9, 1.0, np.pi)}, True),
  ],
)
def test_whose_fault_it_is(what, case, expected):
  assert fault(**case) is expected, what


def test_the_front_edge_is_the_front_edge():
  """A box touched at its side behind the edge is not met by the front, however near."""
  assert not fault((-0.1, 2.0, 0)) and fault((0.1, 2.0, 0))
