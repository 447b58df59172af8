"""Driving on clips: perception by many heads, an end-to-end policy, and generative futures.

Papers: UniAD (arXiv:2212.10156), flow matching (arXiv:2210.02747), DDPM (arXiv:2006.11239), DiT (arXiv:2212.09748).

  python -m data.render --dataset=build/sumo --rig=pair --out=build/clips
  python -m experiments.train --config=experiments/configs/driving.py:policy --config.data.dataset=build/clips \
    --workdir=build/run

Variants, and each with ":tiny" (25 to 50 steps, a minute or two on two cores, most of it compilation; "tiny" is
"multi_task:tiny"):
  "multi_task": detection, segmentation, occupancy, map elements, tracking and forecasts from LiDAR and cameras.
  "occupancy": BEV classes of later steps from LiDAR and cameras, either of which a rig may lack.
  "policy": trajectory and controls from all sensors.
  "flow", "diffusion": the ego's trajectory. "flow_cells", "diffusion_cells": the next step's BEV classes.
What they reach: results/objectives; head by head, in the field's terms:

  python -m evaluation.heads --run=build/run --out=build/heads

Plans and forecasts are told as they differ from going on as before: plan_ADE stands beside "constant_velocity" and
"constant_turn" (constant acceleration and yaw rate), forecasting_ADE beside "constant_velocity". An untrained plan is
as good as the latter: what a policy has learned is how much better than that it plans.

Tiny runs (results/objectives):
  "multi_task" beats its random-init probe by 0.02 +- 0.01 (3 seeds) on occupancy.
  "policy" beats its random-init probe by 0.26 +- 0.15 (3 seeds) on displacement.
  "flow" beats its random-init probe by 0.18 +- 0.13 (3 seeds) on displacement.
  "diffusion" beats its random-init probe by 0.23 +- 0.13 (3 seeds) on displacement.
  "flow_cells" beats its random-init probe by 0.02 +- 0.02 (3 seeds, the least +0.004) on occupancy.
  "diffusion_cells" beats its random-init probe by 0.04 +- 0.03 (3 seeds, the least +0.010) on occupancy.
"""

from ml_collections import ConfigDict

from experiments.configs import perception, variants

NAMES = ("multi_task", "occupancy", "policy", "flow", "diffusion", "flow_cells", "diffusion_cells")
NO_HEADS = dict(
  segmentation=0.0,
  occupancy=0.0,
  detection=0.0,
  elements=0.0,
  forecasting=0.0,
  forecast_spread=0.0,
  tracking=0.0,
  plan=0.0,
  plan_spread=0.0,
  actions=0.0,
)


def get_config(variant: str = "") -> ConfigDict:
  name, size = variants.sized(variant, NAMES, __file__)
  tiny = size == "tiny"
  config = perception.get_config("masked:tiny" if tiny else "masked").to_dict()
  patch = 8 if tiny else 4
  heads = dict(
    learned=name == "multi_task",
    drop=0.5 if name == "occupancy" else 0.0,
    density="laplace",
    modes=6,
    ahead=2,
    patch=patch,
  )
  perceive = dict(
    segmentation=1.0,
    occupancy=1.0,
    detection=1.0,
    elements=0.2,  # of about ten nats each at first, where the others begin with one to three per unit
    forecasting=1.0,
    forecast_spread=1.0,
    tracking=1.0,
  )
  generative = dict(
    drop=0.0,
    target="cells" if name.endswith("cells") else "plan",
    patch=patch,
    denoiser=dict(width=32, layers=2, head_dim=8) if tiny else dict(width=192, layers=6, head_dim=32),
    samples=2 if tiny else 6,
    sample_steps=10,
  )
  losses = dict(
    multi_task=dict(weights=NO_HEADS | perceive, **heads),
    occupancy=dict(weights=NO_HEADS | dict(occupancy=1.0), **heads),
    policy=dict(weights=NO_HEADS | dict(plan=1.0, plan_spread=1.0, actions=1.0), **heads),
    flow=generative | dict(sigma_min=0.0),
    diffusion=generative | dict(noise_steps=200, eta=0.0),
  )
  objectives = dict(flow="flow_matching", diffusion="diffusion")
  kind = name.partition("_cells")[0]
  config |= dict(objective=objectives.get(kind, "multi_task"), loss=losses[kind])
  config |= dict(tokens=55_000 if tiny else config["tokens"])
  unlabelled = dict(  # the raster shows what these are asked for; what compiles quickly has fewer encoders
    multi_task="ego,lidar" if tiny else "ego,lidar,camera",
    occupancy="ego,lidar,camera",
  )
  config["model"] |= dict(
    sensors=unlabelled.get(name, "ego,raster" if tiny else "ego,raster,lidar,camera"),
    mixing="factorised",
    causal=True,
    tube=1,
    grid_patch=16 if tiny else 8,
  )
  return ConfigDict(config)
