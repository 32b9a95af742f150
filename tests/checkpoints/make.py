"""Writes the checkpoints in this folder. Every tensor is a ramp, so that its numbers can be said without this script."""
import argparse, collections, datetime, json, pathlib, zipfile
import numpy as np
import torch
from safetensors.torch import save_file


def ramp(*shape, start=0.0, step=0.5):
    n = int(np.prod(shape)) if shape else 1
    return (torch.arange(n, dtype=torch.float32) * step + start).reshape(shape)


def checkpoint():
    base = ramp(4, 6)
    model = collections.OrderedDict(
        f32=ramp(2, 3, start=-1.0),
        f64=ramp(2, 3).double(),
        f16=ramp(2, 3, start=-1.0).half(),
        bf16=ramp(2, 3, start=-1.0).bfloat16(),
        i64=torch.tensor([-1, 0, 1 << 20]),
        u8=torch.tensor([0, 200], dtype=torch.uint8),
        bool=torch.tensor([True, False]),
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
        transposed=base.t(),
        window=base[1:3, 2:5],
        expanded=torch.tensor([1.5, 2.5]).expand(3, 2),
    )
    model["blocks.0.weight"] = torch.nn.Parameter(ramp(3))
    return {
        "student": {"backbone": model},
        "tied": [model["f32"], model["f32"]],
        "epoch": 7,
        "loss": float("nan"),
        "score": np.float64(2.5),
        "order": np.arange(3),
        "args": argparse.Namespace(arch="vit_small", patch_size=16, lr=0.25, betas=(0.9, 0.95), amp=True, resume=None),
        "path": pathlib.PurePosixPath("/data/run"),
        "when": datetime.date(2024, 5, 6),
        "device": torch.device("cpu"),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    }


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)
        self.fc.weight = torch.nn.Parameter(ramp(2, 3, start=-1.0))
        self.fc.bias = torch.nn.Parameter(ramp(2))
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x):
        return self.fc(x) * self.scale


class Tower(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = torch.nn.Sequential(Block(), torch.nn.ReLU())
        self.size: int = 32

    def forward(self, x):
        return self.visual(x)


def other_order(src, dst):
    """The checkpoint as a machine of the other byte order writes it; every storage has numbers of 4 bytes."""
    with zipfile.ZipFile(src) as old, zipfile.ZipFile(dst, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            data = old.read(name)
            if "/data/" in name:
                data = np.frombuffer(data, "<u4").astype(">u4").tobytes()
            if name.endswith("/byteorder"):
                data = b"big"
            new.writestr(name, data)


torch.save(checkpoint(), "zip.pth")
torch.save(checkpoint(), "legacy.pth", _use_new_zipfile_serialization=False)
torch.save(Tower(), "module.pth")
torch.jit.script(Tower().half()).save("script.pt")
torch.save({"a": ramp(2, 3), "b": ramp(4)}, "little.pth")
other_order("little.pth", "big.pth")
pathlib.Path("little.pth").unlink()

shards = {"model-00001-of-00002.safetensors": {"a": ramp(2, 3)}, "model-00002-of-00002.safetensors": {"b": ramp(4).bfloat16(), "c": ramp(2).half()}}
pathlib.Path("sharded").mkdir(exist_ok=True)
for name, tensors in shards.items():
    save_file(tensors, f"sharded/{name}", {"format": "pt"})
index = {"metadata": {"total_size": 36}, "weight_map": {key: name for name, tensors in shards.items() for key in tensors}}
pathlib.Path("sharded/model.safetensors.index.json").write_text(json.dumps(index))

arrays = {
    "Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel": ramp(3, 4).numpy(),
    "column_major": np.asfortranarray(ramp(2, 3).numpy()),
    "cls": ramp(1, 1, 3).numpy().astype(np.float16),
    "bf16": ramp(4).bfloat16().view(torch.int16).numpy().view("V2"),
    "big": ramp(3).numpy().astype(">f4"),
    "step": np.int64(300),
    "i64": np.array([1, -2]),
}
np.savez("stored.npz", **arrays)
np.savez_compressed("deflated.npz", **arrays)
