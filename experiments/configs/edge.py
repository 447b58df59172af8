"""One camera, one frame, on a vehicle: ViT-S/16 at 224 x 224 that says what lies on the ground around.

A. Dosovitskiy et al., ViT (arXiv:2010.11929), H. Touvron et al., DeiT (arXiv:2012.12877) for the shape: width 384, 12
layers, 6 heads, patches of 16 pixels, all of them mixed. Its head answers for every cell of the bird's eye view. What
an export of it costs in error, time and bytes: results/edge_latency.

  python -m data.render --dataset=build/sumo --rig=front --clip_steps=1 --image_height=224 --image_width=224 \
    --clips_per_scene=4 --out=build/frames
  python -m experiments.train --config=experiments/configs/edge.py --config.data.dataset=build/frames \
    --workdir=build/edge

Variants: none, or "tiny": two layers of width 64.
"""

from ml_collections import ConfigDict

from experiments.configs import driving, variants


def get_config(variant: str = "") -> ConfigDict:
  variants.require(variant, ("tiny",), __file__)
  tiny = variant == "tiny"
  config = driving.get_config("multi_task").to_dict()
  config["model"] |= dict(
    sensors="camera",
    camera_patch=16,
    width=64 if tiny else 384,
    layers=2 if tiny else 12,
    head_dim=32 if tiny else 64,
    mixing="full",
    dtype="float32",
  )
  config["loss"] |= dict(weights=driving.NO_HEADS | dict(segmentation=1.0), learned=False, patch=8)
  config["data"] |= dict(dataset="build/frames", batch_windows=4)
  config |= dict(tokens=(32 if tiny else 120) * 4 * 196)
  return ConfigDict(config)
