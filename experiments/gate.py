"""May a run follow another? python -m experiments.gate --run=NEW --before=OLD --slices="domain=highway;rare=1".

Both are judged on the records of one split. Every slice (data/slices.py) is a gate that closes when the loss of the
new run is higher by more than --allowed and by more than noise explains. Slices of --canaries, such as "rare=1", are
closed unless it is shown not to be (evaluation/gates.py). Scenes tell what is noise: a slice needs eight of them. With
--probe=TARGET what counts is not the loss but 1 - score of a linear probe of the features, for runs whose losses rank
nothing. Leaves OUT/gate.json and a sentence per gate; exit code 3 when one is closed.
"""

import dataclasses
import pathlib

from absl import flags

from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory that would follow.", required=True)
_BEFORE = flags.DEFINE_string("before", None, "Run directory that it would follow.", required=True)
_SLICES = flags.DEFINE_string("slices", None, "Slices that must not get worse, joined by ;", required=True)
_CANARIES = flags.DEFINE_string("canaries", "", "Slices that must be shown not to get worse, joined by ;")
_OUT = flags.DEFINE_string("out", None, "Directory of gate.json.", required=True)
_SPLIT = flags.DEFINE_string("split", "validation", "Split they are judged on.")
_PROBE = flags.DEFINE_string(
  "probe", "", "Target of a probe (evaluation/probing/targets.py) that is compared; empty: the loss."
)
_ALLOWED = flags.DEFINE_float(
  "allowed", 0.0, "How much worse a slice may be, in the unit of what counts.", 0.0
)
_CONFIDENCE = flags.DEFINE_float("confidence", 0.95, "That noise alone closes no gate.", 0.5, 0.9999)


def main() -> int:
  from data.files import require_directory, write_json_atomic
  from evaluation import gates
  from experiments.continual import compare

  slices, canaries = (
    [text.strip() for text in flag.value.split(";") if text.strip()] for flag in (_SLICES, _CANARIES)
  )
  allowed = dict.fromkeys((*slices, *canaries), _ALLOWED.value)
  out = require_directory(_OUT.value, "--out")
  verdicts = compare(
    _RUN.value, _BEFORE.value, allowed, _SPLIT.value, _CONFIDENCE.value, canaries, _PROBE.value
  )
  facts = {name: dataclasses.asdict(verdict) for name, verdict in verdicts.items()}
  write_json_atomic(
    pathlib.Path(out) / "gate.json",
    {"run": _RUN.value, "before": _BEFORE.value, "probe": _PROBE.value, "gates": facts},
  )
  for name, verdict in verdicts.items():
    print(verdict.sentence(name))
  if closed := gates.closed(verdicts):
    raise program.LastingFault(f"{_RUN.value} must not follow {_BEFORE.value}: " + "; ".join(closed))
  return 0


if __name__ == "__main__":
  program.run(main)
