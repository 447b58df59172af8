"""What the caches of the world model over codes save: python benchmarks/code_roll_out.py [--frames=6] [--rounds=3].

One roll-out of likeliest codes with the caches of both trunks (models/codes.py), and one in which every frame of the
past is read again for each new frame, and the whole new frame for each of its codes. In turns, in one process, random
weights, two frames observed. Prints JSON, a line for each trunk: processor seconds of the fastest round of either,
their ratio, and the share of codes that are the same (a tie of two logits falls either way by rounding).
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

OBSERVED, CODES, ACTIONS = 2, 512, 256
# mixing, places of a frame, width, windows at a time
CASES = (("factorised", 64, 64, 16), ("hybrid", 64, 64, 16), ("factorised", 256, 64, 4))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  for name, default in (("frames", 6), ("rounds", 3)):
    parser.add_argument(f"--{name}", type=int, default=default)
  args = parser.parse_args()
  for case in CASES:
    print(json.dumps(measure(*case, args.frames, args.rounds)), flush=True)


def measure(mixing: str, places: int, width: int, windows: int, frames: int, rounds: int) -> dict:
  """The row of one model."""
  import flax.linen as nn
  import jax
  import jax.numpy as jnp

  from models import codes
  from models.codes_config import CodesConfig
  from models.trunk_config import TrunkConfig

  recurrent = 16 * (mixing == "hybrid")

  def trunk(steps: int, space: int) -> TrunkConfig:
    return TrunkConfig(
      width=width, layers=2, head_dim=width // 2, mixing=mixing, state=recurrent, chunk=recurrent, causal=True,
      steps=steps, space=space, dtype="float32", scan=False, remat="none", block=0, adapter=0, prefix=0, heads=0,
      hidden=0,
    )  # fmt: skip

  model = codes.CodesModel(CodesConfig(CODES, ACTIONS, trunk(frames, places + 1), trunk(places, 1)))
  draw = np.random.default_rng(0)
  seen = jnp.asarray(draw.integers(0, CODES, (windows, frames, places)), jnp.int32)
  actions = jnp.asarray(draw.integers(0, ACTIONS, (windows, frames)), jnp.int32)
  batch = {"codes_BxTxS": seen, "actions_BxT": actions}
  params = nn.unbox(jax.jit(model.init)(jax.random.key(0), batch)["params"])
  # Branches end in zeros at first, and would change nothing.
  params = jax.tree.map(lambda p: p + 0.1 * draw.normal(size=p.shape).astype(np.float32), params)

  def cached(params, seen):
    return codes.roll_out(model, params, seen, actions, OBSERVED, jax.random.key(0), temperature=0.0)

  def plain(params, seen):
    written = seen
    for t in range(OBSERVED, frames):
      past = written[:, :t], actions[:, :t]
      context = model.apply({"params": params}, *past, method="look_back")[:, -1:]

      def write(frame, place, context=context, t=t):
        logits = model.apply({"params": params}, context, frame, actions[:, t : t + 1], method="read")
        return frame.at[:, 0, place].set(logits[:, 0, place].argmax(-1).astype(jnp.int32)), None

      frame, _ = jax.lax.scan(write, jnp.zeros_like(seen[:, :1]), jnp.arange(places))
      written = written.at[:, t].set(frame[:, 0])
    return written

  programs = {"cached": jax.jit(cached), "plain": jax.jit(plain)}
  found = {name: np.asarray(program(params, seen)) for name, program in programs.items()}
  seconds = dict.fromkeys(programs, float("inf"))
  for _ in range(rounds):
    for name, program in programs.items():
      start = time.process_time()
      jax.block_until_ready(program(params, seen))
      seconds[name] = min(seconds[name], time.process_time() - start)
  same = (found["cached"] == found["plain"])[:, OBSERVED:].mean()
  case = {"mixing": mixing, "places": places, "width": width, "windows": windows, "frames": frames}
  rounded = {f"{name}_seconds": round(value, 3) for name, value in seconds.items()}
  ratio = round(seconds["plain"] / seconds["cached"], 1)
  return case | rounded | {"ratio": ratio, "same_codes": round(float(same), 4)}


if __name__ == "__main__":
  main()
