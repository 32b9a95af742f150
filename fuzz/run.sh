#!/usr/bin/env bash
# Fuzzes the readers of weights files: fuzz/run.sh [SECONDS] [TARGET]...   (600 seconds, every target)
# Needs cargo-fuzz (cargo install cargo-fuzz) and unzip. The pinned stable toolchain will do: RUSTC_BOOTSTRAP lets it
# take the flags of the address sanitizer, which also counts what is allocated.
set -eu
cd "$(dirname "$0")/.."
export RUSTC_BOOTSTRAP=1
seconds=${1:-600}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(checkpoint pickle npy safetensors index)

corpus=fuzz/corpus
mkdir -p $corpus/{checkpoint,pickle,npy,safetensors,index}
cp tests/checkpoints/*.{pth,pt,npz} tests/checkpoints/sharded/*.safetensors tests/checkpoints/hostile/* $corpus/checkpoint/
find tests/golden -name 'weights.*' -size -160k | while read -r file; do cp "$file" "$corpus/checkpoint/${file//\//-}"; done
cp tests/checkpoints/sharded/*.json $corpus/index/
for file in tests/checkpoints/*.p* tests/checkpoints/hostile/*.pth tests/golden/*/weights.pth; do
    unzip -p "$file" '*data.pkl' >"$corpus/pickle/${file//\//-}" 2>/dev/null || true
done
for file in tests/checkpoints/*.npz tests/golden/*/weights.npz; do
    unzip -Z1 "$file" | while read -r name; do
        unzip -p "$file" "$name" >"$corpus/npy/${file//\//-}-${name//\//-}"
    done
done
for file in tests/checkpoints/sharded/*.safetensors tests/golden/*/weights.safetensors; do
    n=$(od -An -tu8 -N8 "$file" | tr -d ' ')
    dd if="$file" of="$corpus/safetensors/${file//\//-}" bs=1 skip=8 count="$n" status=none
done

for target in "${targets[@]}"; do
    cargo fuzz run -s address "$target" -- -max_total_time="$seconds" -timeout=25 -rss_limit_mb=512 -malloc_limit_mb=256 \
        -max_len=160000 -print_final_stats=1
done
