"""Embeds an image in PyTorch, without facejax: what `python -m facejax.export --format=safetensors` wrote of a ResNet.

python examples/load_in_pytorch.py exported me.jpg
"""

import json
import pathlib
import sys

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file

folder = pathlib.Path(sys.argv[1])
description = json.loads((folder / "facejax.json").read_text())
config, preprocessing = description["config"], description["preprocessing"]

network = getattr(torchvision.models, config["backbone"])()
network.fc = torch.nn.Identity()
network.load_state_dict(load_file(folder / "weights.safetensors"))
for stage in (2, 3, 4):  # facejax may keep a finer grid: the last stages do not stride then
    if 4 * 2 ** (stage - 1) > config["output_stride"]:
        block = getattr(network, f"layer{stage}")[0]
        strided = block.conv2 if config["backbone"] in ("resnet50", "resnet101") else block.conv1
        strided.stride = block.downsample[0].stride = (1, 1)
network.eval()

size = preprocessing["size"]
image = Image.open(sys.argv[2]).convert("RGB").resize((size, size), Image.Resampling.BOX)
x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
mean, std = (torch.tensor(preprocessing[name])[:, None, None] for name in ("mean", "std"))
with torch.inference_mode():
    features = network((x - mean) / std)
print(f"{tuple(features.shape)}: {features[0, :4].tolist()}")
