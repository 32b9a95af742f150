"""Three optimizer steps of DINO and of iBOT, written from the papers' formulas in plain PyTorch.

Run as `OMP_NUM_THREADS=1 python make.py` with torch, numpy and safetensors; writes ../dino_steps and ../ibot_steps.
Nothing in here is used by vitscope: it only computes what vitscope must compute too.
"""

import json
import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
IMAGE, PATCH, D, DEPTH, HEADS = 16, 4, 24, 2, 3
HIDDEN, BOTTLENECK, K = 20, 8, 16
N_GLOBALS, N_LOCALS, LOCAL, B = 2, 2, 8, 3
N_STEPS, STEPS_PER_EPOCH = 6, 2
SETTINGS = dict(
    lr=2e-3, min_lr=1e-5, weight_decay=0.04, weight_decay_end=0.4, beta1=0.9, beta2=0.999, eps=1e-5, clip=0.05,
    momentum=0.9, temp_start=0.04, temp_end=0.07, temp_warmup_epochs=3, student_temp=0.1, center_momentum=0.9,
    patch_center_momentum=0.8, patch_temp_start=0.05, patch_temp_end=0.09, freeze_last_layer_epochs=1,
)


def start(masked, gen):
    """A student's parameters by name; wide enough that every part matters."""
    grid = IMAGE // PATCH
    shapes = {"backbone.cls_token": (1, 1, D), "backbone.pos_embed": (1, 1 + grid * grid, D)}
    if masked:
        shapes["backbone.mask_token"] = (1, 1, D)
    shapes["backbone.patch_embed.proj.weight"] = (D, 3, PATCH, PATCH)
    shapes["backbone.patch_embed.proj.bias"] = (D,)
    for i in range(DEPTH):
        block = f"backbone.blocks.{i}."
        for name, shape in {
            "norm1.weight": (D,), "norm1.bias": (D,), "attn.qkv.weight": (3 * D, D), "attn.qkv.bias": (3 * D,),
            "attn.proj.weight": (D, D), "attn.proj.bias": (D,), "norm2.weight": (D,), "norm2.bias": (D,),
            "mlp.fc1.weight": (4 * D, D), "mlp.fc1.bias": (4 * D,), "mlp.fc2.weight": (D, 4 * D), "mlp.fc2.bias": (D,),
        }.items():
            shapes[block + name] = shape
    shapes["backbone.norm.weight"] = (D,)
    shapes["backbone.norm.bias"] = (D,)
    widths = [D, HIDDEN, HIDDEN, BOTTLENECK]
    for i in range(3):
        shapes[f"head.mlp.{2 * i}.weight"] = (widths[i + 1], widths[i])
        shapes[f"head.mlp.{2 * i}.bias"] = (widths[i + 1],)
    shapes["head.last_layer.weight_g"] = (K, 1)
    shapes["head.last_layer.weight_v"] = (K, BOTTLENECK)
    params = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=gen, dtype=torch.float64) * 0.2
        if name.endswith("weight_g") or ("norm" in name and name.endswith("weight")):
            value = 1 + 0.1 * value if not name.endswith("weight_g") else torch.ones(shape, dtype=torch.float64)
        params[name] = value.float().double()
    return params


def positions(table, grid):
    """DINO's resampling: bicubic, the scale given with 0.1 added."""
    n = table.shape[1] - 1
    side = int(math.sqrt(n))
    if side == grid:
        return table
    patches = table[:, 1:].reshape(1, side, side, D).permute(0, 3, 1, 2)
    scale = (grid + 0.1) / side
    patches = F.interpolate(patches, scale_factor=(scale, scale), mode="bicubic")
    assert patches.shape[-1] == grid
    return torch.cat([table[:, :1], patches.permute(0, 2, 3, 1).reshape(1, grid * grid, D)], 1)


def encode(p, x, mask=None):
    grid = x.shape[-1] // PATCH
    x = F.conv2d(x, p["backbone.patch_embed.proj.weight"], p["backbone.patch_embed.proj.bias"], stride=PATCH)
    x = x.flatten(2).transpose(1, 2)
    if mask is not None:
        x = torch.where(mask.flatten(1)[..., None], p["backbone.mask_token"], x)
    x = torch.cat([p["backbone.cls_token"].expand(x.shape[0], 1, D), x], 1)
    x = x + positions(p["backbone.pos_embed"], grid)
    norm = lambda x, name: F.layer_norm(x, (D,), p[name + ".weight"], p[name + ".bias"], 1e-6)
    linear = lambda x, name: F.linear(x, p[name + ".weight"], p[name + ".bias"])
    for i in range(DEPTH):
        block = f"backbone.blocks.{i}."
        n, t, _ = x.shape
        qkv = linear(norm(x, block + "norm1"), block + "attn.qkv").reshape(n, t, 3, HEADS, D // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-2, -1) / math.sqrt(D // HEADS)).softmax(-1)
        x = x + linear((a @ v).transpose(1, 2).reshape(n, t, D), block + "attn.proj")
        x = x + linear(F.gelu(linear(norm(x, block + "norm2"), block + "mlp.fc1")), block + "mlp.fc2")
    return norm(x, "backbone.norm")


def project(p, x):
    for i in range(3):
        x = F.linear(x, p[f"head.mlp.{2 * i}.weight"], p[f"head.mlp.{2 * i}.bias"])
        if i < 2:
            x = F.gelu(x)
    x = F.normalize(x, dim=-1)
    v = p["head.last_layer.weight_v"]
    return F.linear(x, p["head.last_layer.weight_g"] * v / v.norm(dim=1, keepdim=True))


def cosine(first, last, i):
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * i / N_STEPS))


def temp(start, end, epoch):
    n = SETTINGS["temp_warmup_epochs"]
    return np.linspace(start, end, n)[epoch] if epoch < n else end


def case(name, masked):
    gen = torch.Generator().manual_seed(7 if masked else 3)
    s = SETTINGS
    student, teacher = start(masked, gen), start(False, gen)
    frozen_lengths = not masked  # norm_last_layer: true in DINO, false in iBOT
    draw = lambda *shape: torch.randn(*shape, generator=gen, dtype=torch.float64).float().double()
    center, patch_center = draw(1, K) * 0.05, draw(1, K) * 0.05
    center, patch_center = center.float().double(), patch_center.float().double()
    io = {f"start.{k}": v.clone() for k, v in student.items()}
    io |= {f"start.teacher.{k}": v.clone() for k, v in teacher.items()}
    io["start.center"] = center.clone()
    if masked:
        io["start.patch_center"] = patch_center.clone()
    moments = {k: [torch.zeros_like(v), torch.zeros_like(v), 0] for k, v in student.items()}
    for step in range(3):
        epoch = step // STEPS_PER_EPOCH
        views = [draw(B, 3, IMAGE, IMAGE) for _ in range(N_GLOBALS)] + [draw(B, 3, LOCAL, LOCAL) for _ in range(N_LOCALS)]
        for i, view in enumerate(views):
            io[f"view.{step}.{i}"] = view
        grid = IMAGE // PATCH
        mask = None
        if masked:
            mask = torch.rand(N_GLOBALS * B, grid * grid, generator=gen) < 0.35
            mask[1] = False  # an image of the first view that is not masked at all
            io[f"mask.{step}"] = mask.to(torch.uint8)
        leaves = {k: v.clone().requires_grad_(not (frozen_lengths and k.endswith("weight_g"))) for k, v in student.items()}
        large, small = torch.cat(views[:N_GLOBALS]), torch.cat(views[N_GLOBALS:])
        told = project(teacher, encode(teacher, large))
        seen = project(leaves, encode(leaves, large, mask))
        seen_small = project(leaves, encode(leaves, small)[:, 0])
        q = ((told[:, 0] - center) / temp(s["temp_start"], s["temp_end"], epoch)).softmax(-1).chunk(N_GLOBALS)
        p = (torch.cat([seen[:, 0], seen_small]) / s["student_temp"]).log_softmax(-1).chunk(N_GLOBALS + N_LOCALS)
        pairs = [(i, v) for i in range(N_GLOBALS) for v in range(N_GLOBALS + N_LOCALS) if i != v]
        loss_class = sum((-(q[i] * p[v]).sum(-1)).mean() for i, v in pairs) / len(pairs)
        loss = loss_class
        io[f"loss_class.{step}"] = loss_class.detach().reshape(1)
        if masked:
            t2 = temp(s["patch_temp_start"], s["patch_temp_end"], epoch)
            q2 = ((told[:, 1:] - patch_center) / t2).softmax(-1)
            ce = -(q2 * (seen[:, 1:] / s["student_temp"]).log_softmax(-1)).sum(-1)
            per_image = (ce * mask).sum(-1) / mask.sum(-1).clamp(min=1)
            loss_patch = sum(part.mean() for part in per_image.chunk(N_GLOBALS)) / N_GLOBALS
            loss = loss + loss_patch
            io[f"loss_patch.{step}"] = loss_patch.detach().reshape(1)
        loss.backward()
        lr = cosine(s["lr"], s["min_lr"], step)
        decay = cosine(s["weight_decay"], s["weight_decay_end"], step)
        with torch.no_grad():
            for k, leaf in leaves.items():
                if leaf.grad is None or ("last_layer" in k and epoch < s["freeze_last_layer_epochs"]):
                    continue
                g = leaf.grad
                factor = s["clip"] / (g.norm() + 1e-6)
                if factor < 1:
                    g = g * factor
                m, v, t = moments[k]
                t += 1
                m = s["beta1"] * m + (1 - s["beta1"]) * g
                v = s["beta2"] * v + (1 - s["beta2"]) * g * g
                moments[k] = [m, v, t]
                value = student[k]
                if value.dim() > 1 and not k.endswith(".bias"):
                    value = value * (1 - lr * decay)
                root = (v / (1 - s["beta2"] ** t)).sqrt() + s["eps"]
                student[k] = value - lr * (m / (1 - s["beta1"] ** t)) / root
            momentum = cosine(s["momentum"], 1.0, step)
            for k in teacher:
                teacher[k] = momentum * teacher[k] + (1 - momentum) * student[k]
            center = s["center_momentum"] * center + (1 - s["center_momentum"]) * told[:, 0].mean(0, keepdim=True)
            if masked:
                mean = told[:, 1:].mean(1).mean(0, keepdim=True)
                patch_center = s["patch_center_momentum"] * patch_center + (1 - s["patch_center_momentum"]) * mean
    io |= {f"after.{k}": v for k, v in student.items()}
    io |= {f"after.teacher.{k}": v for k, v in teacher.items()}
    io["after.center"] = center
    if masked:
        io["after.patch_center"] = patch_center
    folder = HERE.parent / name
    folder.mkdir(exist_ok=True)
    io = {k: (v if v.dtype == torch.uint8 else v.float()).detach().contiguous() for k, v in io.items()}
    save_file(io, folder / "io.safetensors")
    config = dict(
        objective="ibot" if masked else "dino", img_size=IMAGE, patch_size=PATCH, embed_dim=D, depth=DEPTH,
        num_heads=HEADS, head_hidden=HIDDEN, head_bottleneck=BOTTLENECK, head_out=K, n_global=N_GLOBALS,
        n_local=N_LOCALS, local_size=LOCAL, batch=B, n_steps=N_STEPS, steps_per_epoch=STEPS_PER_EPOCH, **s,
    )
    meta = dict(
        kind="self_distill_steps", config=config,
        source="make.py in ../self_distillation: written from the papers' formulas, float64",
        made_with=dict(torch=torch.__version__, numpy=np.__version__), tolerance=dict(abs=1e-5, rel=1e-4),
    )
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    print(name, [float(io[f"loss_class.{i}"]) for i in range(3)], (io["after.head.last_layer.weight_v"] - io["start.head.last_layer.weight_v"]).abs().max())


case("dino_steps", False)
case("ibot_steps", True)
