"""Checkpoints of vision transformers and our variables: DeiT's and DINO's, which are timm's too, and CLIP's."""

from facejax.interop.torch_layout import CONV, Layout, Link, layer_norm, linear

TOKEN = Layout(lambda x: x.reshape(1, 1, -1), lambda x: x.reshape(-1))  # [D] <-> [1, 1, D]
POSITIONS = Layout(lambda x: x[None], lambda x: x[0])  # [N, D] <-> [1, N, D]


def deit_links(depth: int) -> list[Link]:
    """Key map of a DeiT or DINO ViT without its head."""
    links = [
        Link("cls_token", "params/class_token"),
        Link("pos_embed", "params/positions"),
        *linear("patch_embed.proj", "patch_embedding", CONV),
        *layer_norm("norm", "norm"),
    ]
    for index in range(depth):
        there, here = f"blocks.{index}", f"block{index}"
        links += layer_norm(f"{there}.norm1", f"{here}/norm1") + layer_norm(f"{there}.norm2", f"{here}/norm2")
        for key, path in {"attn.qkv": "qkv", "attn.proj": "out", "mlp.fc1": "hidden", "mlp.fc2": "output"}.items():
            links += linear(f"{there}.{key}", f"{here}/{path}")
    return links


def clip_links(depth: int) -> list[Link]:
    """Key map of CLIP's image tower, without its prefix `visual.`."""
    links = [
        Link("class_embedding", "params/class_token", TOKEN),
        Link("positional_embedding", "params/positions", POSITIONS),
        *linear("conv1", "patch_embedding", CONV, bias=False),
        *layer_norm("ln_pre", "input_norm"),
        *layer_norm("ln_post", "norm"),
        Link("proj", "params/projection/kernel"),
    ]
    for index in range(depth):
        there, here = f"transformer.resblocks.{index}", f"block{index}"
        links += layer_norm(f"{there}.ln_1", f"{here}/norm1") + layer_norm(f"{there}.ln_2", f"{here}/norm2")
        qkv = linear("", f"{here}/qkv")
        links += [Link(f"{there}.attn.in_proj{link.key.replace('.', '_')}", link.path, link.layout) for link in qkv]
        for key, path in {"attn.out_proj": "out", "mlp.c_fc": "hidden", "mlp.c_proj": "output"}.items():
            links += linear(f"{there}.{key}", f"{here}/{path}")
    return links
