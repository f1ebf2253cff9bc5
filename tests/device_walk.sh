#!/bin/sh
# A bundle from the host to the device: sh tests/device_walk.sh HOST_EDGE_TL DEVICE_EDGE_TL
# The first has PyTorch, the second does not. It fails where a verb exits with another code than expected.
set -eu
host=$1 device=$2
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT

# Three of its 539 images are over the budget of half a point: by chance an INT8 artifact fails, and the verb says 1.
code=0
"$host" demo --out "$here/demo" --json > "$here/demo.json" || code=$?
[ "$code" = 0 ] || [ "$code" = 1 ]
passed=$("$(dirname "$host")/python" - "$here/demo.json" << 'END'
import json, sys
record = json.load(open(sys.argv[1]))
ids = [each["id"] for each in record["artifacts"] if each["passed"]]
assert {"onnx-fp32", "openvino-fp32"} <= set(ids) and len(ids) >= 3, ids
print(*(f"--artifact={name}" for name in ids))
END
)
cp -r "$here/demo/bundle" "$here/copied"

# What passed on the host passes on the device.
"$device" verify "$here/copied" $passed --json > "$here/verify.json"
"$device" verify "$here/copied" $passed --data "$here/demo/digits"
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
