"""Model families. Models name logical axes only; `experiments/mesh.py` maps them to a mesh.

| suffix | axis | logical name |
|---|---|---|
| B | batch of windows | batch |
| T | time step, sequence | time |
| A | agent slot | agents |
| S | space: tokens of one step | space |
| F | input features | features |
| D | width of the residual stream | embed (weights), act_embed (activations) |
| H, K | attention heads, head width | heads, head_dim |
| M | hidden units of the MLP | mlp |
| V | vocabulary | vocab |
| L | layers | layers |
| R | recurrent state of a channel | state |
"""
