"""Updates as bytes: what is counted is what is sent, and nothing else is read back."""

import numpy as np
import pytest

from data.errors import BadInput
from federated import wire

UPDATE = {
  "a": np.arange(6, dtype=np.float32).reshape(2, 3),
  "b": {"c": np.int8([-1, 2]), "d": np.float64(3.5)},
}


def test_an_update_comes_back_as_it_was_and_its_size_is_its_bytes():
  message = wire.encode(UPDATE)
  assert len(message) == wire.size(UPDATE)
  back = wire.decode(message, UPDATE, "vehicle 3")
  for got, expected in zip(
    (back["a"], back["b"]["c"], back["b"]["d"]), (UPDATE["a"], *UPDATE["b"].values()), strict=True
  ):
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == np.asarray(expected).dtype


@pytest.mark.parametrize(
  ("broken", "says"),
  [
    (lambda m: m[:10], "is no update"),
    (lambda m: b"XXXX" + m[4:], "is no update"),
    (lambda m: m[:-1], "expected 3"),
    (lambda m: m + b"\0", "expected 3"),
    (lambda m: m[:-1] + bytes([m[-1] ^ 1]), "damaged"),
    (lambda m: wire.encode({"a": UPDATE["a"]}), "holds 1 arrays"),
    (lambda m: wire.encode(UPDATE | {"a": UPDATE["a"].T}), "another model"),
    (lambda m: wire.encode(UPDATE | {"a": UPDATE["a"].view(np.int32)}), "another model"),
    (lambda m: wire.encode({"A": UPDATE["a"], "b": UPDATE["b"]}), "another model"),
  ],
)
def test_a_broken_message_is_refused_with_its_sender(broken, says):
  with pytest.raises(BadInput, match=f"vehicle 3: .*{says}"):
    wire.decode(broken(wire.encode(UPDATE)), UPDATE, "vehicle 3")
