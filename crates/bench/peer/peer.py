#!/usr/bin/env python3
"""The other side of `cargo xtask bench`: the same work by PyTorch, timm, transformers, torchvision, faiss and torch-cka.

    peer.py ROW DIR THREADS [quick]

Reads DIR/ROW.safetensors, does the work once and compares its outputs with those in the file, then says
`ready DIFFERENCE VERSIONS`, or `absent LIBRARY` where the row's library is not installed. For every line `go` it does
the work once more and answers `wall-seconds cpu-seconds`; at the end of its input it says `peak BYTES`.
"""

import glob
import importlib
import importlib.metadata
import os
import sys
import time

ROW, DIR, THREADS = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(THREADS)

LR, WEIGHT_DECAY, COMPARED = 1e-4, 0.05, 3
N_ROUNDS = 8  # as in src/pictures.rs
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def need(*names):
    """Imports libraries, or says which one is missing and ends."""
    found = []
    for name in names:
        try:
            found.append(importlib.import_module(name))
        except ImportError:
            print(f"absent {name}", flush=True)
            sys.exit(0)
    return found if len(found) > 1 else found[0]


def tensors():
    from safetensors.torch import load_file

    return load_file(os.path.join(DIR, f"{ROW}.safetensors"))


def part(shared, prefix):
    return {name[len(prefix):]: value for name, value in shared.items() if name.startswith(prefix)}


SIZES = {"ti": (192, 12, 3, 16, 224), "s": (384, 12, 6, 16, 224), "b": (768, 12, 12, 16, 224), "nano": (128, 6, 4, 4, 32)}


def vit(size, shared, n_classes=0):
    from timm.models.vision_transformer import VisionTransformer

    width, depth, heads, patch, side = SIZES[size]
    model = VisionTransformer(
        img_size=side, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads, num_classes=n_classes
    )
    model.load_state_dict(part(shared, "weights."), strict=True)
    return model


def forward(size):
    torch, _ = need("torch", "timm")
    shared = tensors()
    model, pixels = vit(size, shared).eval(), shared["input.pixels"]

    def work():
        with torch.inference_mode():
            return {"pooled": model(pixels)}

    return work, shared


def trained(model, loss_of, spared):
    """Steps of AdamW with our rule: what has more than one dimension decays, but for names that end in `spared`."""
    import torch

    groups = {True: [], False: []}
    for name, param in model.named_parameters():
        if param.requires_grad:
            groups[param.ndim > 1 and not name.endswith(spared)].append(param)
    optimizer = torch.optim.AdamW(
        [{"params": groups[True], "weight_decay": WEIGHT_DECAY}, {"params": groups[False], "weight_decay": 0.0}],
        lr=LR, betas=(0.9, 0.999), eps=1e-8,
    )
    state = {"first": True}

    def work():
        losses = []
        for _ in range(COMPARED if state["first"] else 1):
            loss = loss_of()
            losses.append(loss.item())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        state["first"] = False
        return {"losses": torch.tensor(losses)}

    return work


def train(size):
    torch, _ = need("torch", "timm")
    shared = tensors()
    n_classes = shared["weights.head.weight"].shape[0]
    model, pixels, labels = vit(size, shared, n_classes).train(), shared["input.pixels"], shared["input.labels"].long()
    return trained(model, lambda: torch.nn.functional.cross_entropy(model(pixels), labels), ("pos_embed", "_token")), shared


def mae():
    _, transformers = need("torch", "transformers")
    shared = tensors()
    config = transformers.ViTMAEConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768,
        layer_norm_eps=1e-6, norm_pix_loss=True, mask_ratio=0.75,
    )
    model = transformers.ViTMAEForPreTraining(config).train()
    plain = {
        "encoder.cls_token": "vit.embeddings.cls_token",
        "encoder.pos_embed": "vit.embeddings.position_embeddings",
        "encoder.patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
        "encoder.norm": "vit.layernorm",
        "mask_token": "decoder.mask_token",
        "decoder_pos_embed": "decoder.decoder_pos_embed",
        "decoder_embed": "decoder.decoder_embed",
        "decoder_norm": "decoder.decoder_norm",
        "decoder_pred": "decoder.decoder_pred",
    }
    inside = {
        "norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.o_proj",
        "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
    }
    state = {}
    for name, value in part(shared, "weights.").items():
        for block, layers in (("encoder.blocks.", "vit.layers."), ("decoder_blocks.", "decoder.decoder_layers.")):
            if name.startswith(block):
                index, rest = name[len(block):].split(".", 1)
                stem, kind = rest.rsplit(".", 1)
                if stem == "attn.qkv":
                    for letter, third in zip("qkv", value.chunk(3)):
                        state[f"{layers}{index}.attention.{letter}_proj.{kind}"] = third.clone()
                else:
                    state[f"{layers}{index}.{inside[stem]}.{kind}"] = value
                break
        else:
            stem, kind = name.rsplit(".", 1) if name.endswith((".weight", ".bias")) else (name, "")
            state[plain[stem] + ("." + kind if kind else "")] = value
    model.load_state_dict(state, strict=True)
    pixels, noise = shared["input.pixels"], shared["input.noise"]
    return trained(model, lambda: model(pixel_values=pixels, noise=noise).loss, ()), shared


def attention_distance():
    torch, _ = need("torch", "timm")
    shared = tensors()
    model, pictures = vit("ti", shared).eval(), shared["input.bytes"].to(torch.uint8)
    maps = []
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _m, _i, out: maps.append(out))
    cells = torch.arange(196)
    xy = torch.stack([cells % 14, cells // 14], 1).float() * 16
    distance = torch.cdist(xy, xy)  # [N, N] in pixels

    def work():
        total, n = 0, len(pictures)
        with torch.inference_mode():
            for start in range(0, n, 64):
                pixels = pictures[start:start + 64].permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.5)
                maps.clear()
                model(pixels)
                patches = torch.stack(maps)[..., 1:, 1:]  # [L, B, heads, N, N]
                patches = patches / patches.sum(-1, keepdim=True)
                total = total + (patches * distance).sum(-1).mean(-1).sum(1)
            return {"distance_px": (total / n).flatten()}

    return work, shared


def cka():
    torch, _, torch_cka = need("torch", "timm", "torch_cka")
    shared = tensors()
    model, pictures = vit("ti", shared).eval(), shared["input.bytes"].to(torch.uint8)
    other = vit("ti", shared).eval()
    layers = [f"blocks.{i}" for i in range(12)]

    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return len(pictures)

        def __getitem__(self, index):
            return pictures[index].permute(2, 0, 1).float().div_(255).sub_(0.5).div_(0.5), 0

    loader = torch.utils.data.DataLoader(Data(), batch_size=64)

    def work():
        with torch.inference_mode():
            compare = torch_cka.CKA(model, other, "a", "b", layers, layers, "cpu")
            compare.compare(loader, loader)
            found = compare.export()["CKA"]
        for one in (model, other):
            for module in one.modules():
                module._forward_hooks.clear()
        first, second = torch.triu_indices(12, 12, 1)  # pairs of blocks, as our side lists them
        return {"cka": found[first, second]}

    return work, shared


def knn():
    torch, faiss = need("torch", "faiss")
    faiss.omp_set_num_threads(THREADS)
    shared = tensors()
    bank, queries = shared["input.bank"].numpy(), shared["input.queries"].numpy()

    def work():
        index = faiss.IndexFlatIP(bank.shape[1])
        index.add(bank)
        scores, _ = index.search(queries, 200)
        return {"scores": torch.from_numpy(scores)}

    return work, shared


def pictures(views):
    torch, torchvision = need("torch", "torchvision")
    from PIL import Image, ImageFilter, ImageOps
    import random

    shared = tensors()
    t = torchvision.transforms
    bicubic = t.InterpolationMode.BICUBIC
    paths = sorted(glob.glob(os.path.join(DIR, "pictures/all/*.jpg")))
    normalize = [t.ToTensor(), t.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    center = t.Compose([t.Resize(256, bicubic), t.CenterCrop(224), *normalize])

    class Blur:
        def __init__(self, prob):
            self.prob = prob

        def __call__(self, image):
            if random.random() > self.prob:
                return image
            return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))

    class Solarize:
        def __call__(self, image):
            return ImageOps.solarize(image) if random.random() < 0.2 else image

    def crop(size, low, high):
        return t.RandomResizedCrop(size, scale=(low, high), interpolation=bicubic)

    flip = t.RandomHorizontalFlip(p=0.5)
    color = [t.RandomApply([t.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8), t.RandomGrayscale(p=0.2)]
    plans = {
        "mae": [t.Compose([crop(224, 0.2, 1.0), flip, *normalize])],
        "dino": [
            t.Compose([crop(224, 0.4, 1.0), flip, *color, Blur(1.0), *normalize]),
            t.Compose([crop(224, 0.4, 1.0), flip, *color, Blur(0.1), Solarize(), *normalize]),
            *[t.Compose([crop(96, 0.05, 0.4), flip, *color, Blur(0.5), *normalize])] * 8,
        ],
    }

    def load(path):
        with open(path, "rb") as file:
            return Image.open(file).convert("RGB")

    state = {"first": True}

    def work():
        if state["first"]:
            state["first"] = False
            return {"centers": torch.stack([center(load(path)) for path in paths])}
        for path in paths * N_ROUNDS:
            image = load(path)
            for view in plans[views]:
                view(image)
        return {}

    return work, shared


ROWS = {
    "forward-ti": lambda: forward("ti"), "forward-s": lambda: forward("s"), "forward-b": lambda: forward("b"),
    "forward-nano": lambda: forward("nano"), "train-ti": lambda: train("ti"), "train-s": lambda: train("s"),
    "train-nano": lambda: train("nano"), "mae-ti": mae, "attention-distance": attention_distance, "cka": cka,
    "knn": knn, "jpeg-mae": lambda: pictures("mae"), "jpeg-dino": lambda: pictures("dino"),
}


def peak():
    with open("/proc/self/status") as status:
        return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:")), 0)


def main():
    torch = need("torch")
    torch.set_num_threads(THREADS)
    work, shared = ROWS[ROW]()
    found = work()
    wanted = part(shared, "output.")
    if sorted(found) != sorted(wanted):
        sys.exit(f"peer: outputs {sorted(found)}, expected {sorted(wanted)}")
    # Relative to the largest value of each output.
    differences = []
    for name, value in wanted.items():
        ours, theirs = value.double().flatten(), found[name].double().flatten()
        if ours.numel() != theirs.numel():
            sys.exit(f"peer: `{name}` has {theirs.numel()} values, expected {ours.numel()}")
        differences.append(((theirs - ours).abs().max() / ours.abs().max()).item())
    work()
    names = ("torch", "timm", "transformers", "torchvision", "faiss-cpu", "torch-cka")
    versions = []
    for name in names:
        if name.replace("-cpu", "").replace("-", "_") in sys.modules:
            versions.append(f"{name}={importlib.metadata.version(name)}")
    del found, wanted
    shared.clear()
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
    print("ready", max(differences), ",".join(versions), flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            break
        started, cpu = time.perf_counter(), time.process_time()
        work()
        print(time.perf_counter() - started, time.process_time() - cpu, flush=True)
    print("peak", peak(), flush=True)


main()
