"""A signal becomes an answer, and the handlers that were there before come back."""

import signal

import pytest

from experiments.preemption import StopSignal


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_answered_between_steps(sent):
  before = signal.getsignal(sent)
  with StopSignal() as stop:
    assert not stop.requested(1)
    signal.raise_signal(sent)
    assert stop.requested(2) and stop.requested(3)
  assert signal.getsignal(sent) is before
