"""Writes `hostile/`: checkpoints that lie. The last word of a file's name is in the refusal that it must meet."""
import io, pathlib, struct, warnings, zipfile
import numpy as np

out = pathlib.Path("hostile")
out.mkdir(exist_ok=True)
MARK, STOP, PROTO = b"(", b".", b"\x80\x02"


def text(s):
    data = s if isinstance(s, bytes) else s.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(n):
    if -(1 << 31) <= n < 1 << 31:
        return b"J" + struct.pack("<i", n)
    data = n.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([8 if -(1 << 63) <= n < 1 << 63 else 9]) + (data[:8] if -(1 << 63) <= n < 1 << 63 else data)


def numbers(values):
    return MARK + b"".join(map(number, values)) + b"t"


def storage(key="0", n=4, kind="FloatStorage"):
    return MARK + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + number(n) + b"tQ"


def tensor(shape=(4,), strides=(1,), offset=0, **of):
    return (b"ctorch._utils\n_rebuild_tensor_v2\n" + MARK + storage(**of) + number(offset) + numbers(shape) + numbers(strides)
            + b"\x89" + b"ccollections\nOrderedDict\n)R" + b"tR")


def dictionary(**values):
    return b"}" + MARK + b"".join(text(key) + value for key, value in values.items()) + b"u"


def torch_zip(name, value, storages=None, packed=False):
    with zipfile.ZipFile(name, "w", zipfile.ZIP_STORED) as z:
        z.writestr(zipfile.ZipInfo("x/data.pkl"), PROTO + value + STOP, zipfile.ZIP_DEFLATED if packed else None)
        for key, data in ({"0": bytes(16)} if storages is None else storages).items():
            z.writestr(zipfile.ZipInfo(f"x/data/{key}"), data)


def npy(array):
    f = io.BytesIO()
    np.save(f, array)
    return f.getvalue()


def patched(name, data, *changes):
    data = bytearray(data)
    for at, value in changes:
        data[at : at + len(value)] = value
    (out / name).write_bytes(data)


# Calls that must not be made: this one is read, beside a tensor.
torch_zip("calls.pth", dictionary(w=tensor(), evil=b"cposix\nsystem\n" + MARK + text("touch pwned") + b"tR"))

# An ordered dictionary as Python 2 wrote it, a list of pairs; this one is read too.
torch_zip("python2.pth", b"ccollections\nOrderedDict\n(](](" + text("w") + tensor() + b"ee" + b"tR")

laugh = b"]q\x00"  # ten lists, each ten times the one before
for level in range(10):
    laugh += b"]" + MARK + b"h" + bytes([level]) + (b"h" + bytes([level])) * 9 + b"eq" + bytes([level + 1])
torch_zip(out / "laughs-again.pth", laugh)
laugh = tensor() + b"q\x00"
for level in range(10):
    laugh += b"]" + MARK + (b"h" + bytes([level])) * 10 + b"eq" + bytes([level + 1])
torch_zip(out / "laughs-of-tensors-names.pth", laugh)
torch_zip(out / "itself-cycle.pth", dictionary(w=tensor(), a=b"]q\x00h\x00a"))
torch_zip(out / "dict-cycle.pth", b"}q\x00" + text("self") + b"h\x00s")
torch_zip(out / "nested-deeper.pth", b"]" * 5000 + b"a" * 4999)
again = b"ctorch._tensor\n_rebuild_from_type_v2\n"
torch_zip(out / "rebuilt-deeper.pth", again + MARK + again + b"N]q\x00" + MARK + again + b"Nh\x00NeNtR")
torch_zip(out / "offset-inside.pth", dictionary(w=tensor(offset=1)))
torch_zip(out / "offset-of-2-62-inside.pth", dictionary(w=tensor(offset=1 << 62)))
torch_zip(out / "stride-inside.pth", dictionary(w=tensor(strides=(1 << 62,))))
torch_zip(out / "negative-stride-whole.pth", dictionary(w=tensor(strides=(-1,))))
torch_zip(out / "negative-shape-whole.pth", dictionary(w=tensor(shape=(-4,))))
torch_zip(out / "negative-storage.pth", dictionary(w=tensor(n=-4)))
torch_zip(out / "overflow-shape.pth", dictionary(w=tensor(shape=(1 << 62, 1 << 62), strides=(0, 0))))
torch_zip(out / "expanded-fill.pth", dictionary(w=tensor(shape=(1 << 40,), strides=(0,))))
torch_zip(out / "more-strides-axes.pth", dictionary(w=tensor(shape=(4,), strides=(1, 1))))
torch_zip(out / "many-axes-64.pth", dictionary(w=tensor(shape=(1,) * 100, strides=(1,) * 100)))
torch_zip(out / "storage-too-long-numbers.pth", dictionary(w=tensor(n=1 << 61)))
torch_zip(out / "no-storage.pth", dictionary(w=tensor(key="7")))
torch_zip(out / "same-name-two.pth", b"}" + MARK + text("a") + dictionary(b=tensor()) + text("a.b") + tensor() + b"u")
torch_zip(out / "packed-pickle-stored.pth", dictionary(w=tensor()), packed=True)
torch_zip(out / "key-UTF-8.pth", b"}" + MARK + text(b"\xff\xfe") + tensor() + b"u")
torch_zip(out / "long-more.pth", b"\x8b\xff\xff\xff\x7f")
torch_zip(out / "bytes-more.pth", b"\x8e" + b"\xff" * 8)
torch_zip(out / "not-remembered.pth", b"jabcd")
torch_zip(out / "below-the-mark-stack.pth", b"N" + MARK + b"0")
torch_zip(out / "no-end-more.pth", b"N" * 9 + b"\x8c\xff")
torch_zip(out / "protocol-0-operation.pth", b"I01\n")
torch_zip(out / "extension-operation.pth", b"\x82\x01")
torch_zip(out / "a-key-alone.pth", b"}" + MARK + text("a") + b"u")

# Zip files.
with zipfile.ZipFile(out / "duplicate-two.npz", "w") as z:
    z.writestr(zipfile.ZipInfo("a.npy"), npy(np.zeros(2)))
    warnings.simplefilter("ignore")
    z.writestr(zipfile.ZipInfo("a.npy"), npy(np.ones(2)))


def npz(packed=True, **arrays):
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as z:
        for key, data in arrays.items():
            z.writestr(zipfile.ZipInfo(f"{key}.npy"), data, z.compression)
    return f.getvalue()


plain = npz(packed=False, a=npy(np.zeros(2)), b=npy(np.ones(2)))
central = plain.index(b"PK\x01\x02")
second = plain.index(b"PK\x01\x02", central + 1)
patched("overlap-both.npz", plain, (second + 42, plain[central + 42 : central + 46]))
patched("encrypted-clear.npz", plain, (central + 8, b"\x01"))
patched("method-stored.npz", plain, (central + 10, b"\x0c"))
patched("name-UTF-8.npz", plain, (central + 46, b"\xff"))
patched("other-name-header.npz", plain, (central + 46, b"c"))
patched("directory-directory.npz", plain, (len(plain) - 6, b"\xff\xff\xff\x7f"))
patched("64-bit-end.npz", plain, (len(plain) - 6, b"\xff\xff\xff\xff"))
patched("fewer-members.npz", plain, (len(plain) - 12, b"\x03"))
bomb = npz(a=npy(np.zeros(2)))
central = bomb.index(b"PK\x01\x02")
patched("ratio-packed.npz", bomb, (central + 24, struct.pack("<I", 1 << 31)))
# The directory says less than is packed: what is read has no end where it should.
longer = npz(a=npy(np.zeros(2)) + bytes(10_000_000))
central = longer.index(b"PK\x01\x02")
pathlib.Path("longer.npz").write_bytes(
    longer[: central + 24] + struct.pack("<I", len(npy(np.zeros(2)))) + longer[central + 28 :])
header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 4611686018427387904), }"
wide = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
(out / "overflow-shape.npz").write_bytes(npz(a=wide))
(out / "parentheses-header.npz").write_bytes(npz(a=b"\x93NUMPY\x01\x00" + struct.pack("<H", 60000) + b"(" * 60000))
(out / "header-of-4-gb-header.npz").write_bytes(npz(a=b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"))

# Safetensors.
def safetensors(header, data=bytes(16), length=None):
    header = header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


entry = '{"dtype":"F32","shape":[%s],"data_offsets":[%d,%d]}'
(out / "header-length.safetensors").write_bytes(safetensors('{"a":1}', length=(1 << 63) + 1))
(out / "past-the-end-bytes.safetensors").write_bytes(safetensors('{"a":%s}' % (entry % ("8", 0, 32))))
(out / "overflow-header.safetensors").write_bytes(
    safetensors('{"a":%s}' % (entry % ("4294967296,4294967296,4294967296", 0, 16))))
(out / "gap-header.safetensors").write_bytes(safetensors('{"a":%s}' % (entry % ("2", 8, 16))))
(out / "nested-header.safetensors").write_bytes(safetensors('{"a":' + "[" * 9000 + "]" * 9000 + "}"))
(out / "backwards-header.safetensors").write_bytes(safetensors('{"a":%s}' % (entry % ("0", 16, 0))))

# PyTorch before 1.6.
def legacy(value, keys, *parts, version=1001):
    magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
    pickles = [magic, number(version), dictionary(), value, b"](" + b"".join(map(text, keys)) + b"e"]
    return b"".join(PROTO + p + STOP for p in pickles) + b"".join(parts)


ok = struct.pack("<q", 4) + bytes(16)
one = dictionary(w=tensor())
(out / "legacy-version.pth").write_bytes(legacy(one, ["0"], ok, version=1002))
(out / "legacy-unused-keys.pth").write_bytes(legacy(one, ["0", "1"], ok, ok))
(out / "legacy-unlisted-storage.pth").write_bytes(legacy(one, []))
(out / "legacy-same-twice.pth").write_bytes(legacy(one, ["0", "0"], ok, ok))
(out / "legacy-negative-numbers.pth").write_bytes(legacy(one, ["0"], struct.pack("<q", -1), bytes(16)))
(out / "legacy-shorter-numbers.pth").write_bytes(legacy(one, ["0"], struct.pack("<q", 2), bytes(8)))
(out / "legacy-more-lengths.pth").write_bytes(legacy(one, ["0"], ok, b"x"))
