#!/bin/sh
# A bundle from the host to the device: sh tests/device_walk.sh HOST_EDGE_TL DEVICE_EDGE_TL
# The first has PyTorch, the second does not. It fails where a verb exits with another code than expected.
set -eu
host=$1 device=$2
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT

"$host" demo --out "$here/demo" --json > "$here/demo.json"
cp -r "$here/demo/bundle" "$here/copied"

"$device" verify "$here/copied" --json > "$here/verify.json"
"$device" verify "$here/copied" --data "$here/demo/digits"
"$device" bench "$here/copied" --quick -o "$here/bench.json"
"$device" predict "$here/copied" "$here/demo/digits/3/"*0.png
"$device" devices

code=0
"$device" finetune "$here/demo/digits" 2> "$here/refused" || code=$?
[ "$code" = 2 ] && grep -q 'pip install "edge-tl\[host\]"' "$here/refused"

printf 'damaged' | dd of="$here/copied/model.int8.onnx" bs=1 seek=5000 conv=notrunc 2> "$here/dd"
code=0
"$device" verify "$here/copied" 2> "$here/refused" || code=$?
[ "$code" = 2 ] && grep -q 'model.int8.onnx' "$here/refused"
echo "bundle on the device: passed"
