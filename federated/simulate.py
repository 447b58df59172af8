"""A fleet that learns without moving its logs: python -m federated.simulate --config=F.py[:variant] --workdir=W.

Vehicles hold the scenes of a dataset; round after round some of them train on their own records and send what they
learnt. W holds config.json, provenance.json, metrics.jsonl, checkpoints and, at last, result.json: loss by domain,
bytes up and down, simulated seconds. The same command continues a run that was interrupted.
"""

import pathlib

from absl import flags

from experiments import program

_CONFIG = program.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Run directory; created, or continued.", required=True)


def main() -> int:
  values = program.config_dict(_CONFIG)
  from data.files import read_json
  from experiments import federation

  code = federation.simulate(_WORKDIR.value, values)
  row = read_json(pathlib.Path(_WORKDIR.value) / "result.json", "run the same command again")
  print(
    f"held-out loss {row['loss']:.4f} after {row['rounds']} rounds of {row['clients']} clients,"
    f" {row['uplink_bytes'] / 1e6:.1f} MB up, {row['downlink_bytes'] / 1e6:.1f} MB down,"
    f" {row['simulated_seconds'] / 3600:.2f} h simulated"
  )
  print(pathlib.Path(_WORKDIR.value) / "result.json")
  return code


if __name__ == "__main__":
  program.run(main)
