#!/bin/sh
# edge-tl on 64-bit Arm, emulated: sh tests/arm_walk.sh CACHE VERB [ARGUMENTS]
# CACHE is a folder of the caller's; the first call fills it (350 MB) with Debian's arm64 Python from the mirror that
# apt is set up for, and with aarch64 wheels from the registry that pip is set up for. Nothing else on the machine is
# changed. Exit code 77: it cannot be done here; the reason is the last line of stderr.
set -eu
cache=$1
shift
here=$(cd "$(dirname "$0")/.." && pwd)
host_python=${PYTHON:-python3}
qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64) || { echo "no qemu-aarch64 here" >&2; exit 77; }
command -v apt-get dpkg-deb > /dev/null || { echo "no apt-get here to fetch Debian's arm64 Python" >&2; exit 77; }
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
root=$cache/root site=$cache/site python=$cache/root/usr/bin/python

# An apt of our own: its lists, its archives, and a machine on which nothing is installed.
arm_apt() {
    apt-get -qq -o Dir::State="$cache/apt/state" -o Dir::State::status="$cache/apt/status" \
        -o Dir::Cache="$cache/apt/cache" -o Dir::Log="$cache/apt/log" -o APT::Architecture=arm64 \
        -o APT::Architectures=arm64 -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none "$@"
}

build() {
    rm -rf "$cache/apt" "$root" "$site"
    mkdir -p "$cache/apt/state/lists/partial" "$cache/apt/cache/archives/partial" "$cache/apt/log" "$root" "$site"
    : > "$cache/apt/status"
    { arm_apt update && arm_apt --no-install-recommends --yes --download-only install python3 libstdc++6; } >&2 \
        || { echo "Debian's arm64 packages cannot be fetched here" >&2; exit 77; }
    for package in "$cache"/apt/cache/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
    [ -e "$root/lib" ] || ln -s usr/lib "$root/lib" # merged, in newer releases
    version=$(basename "$(readlink "$root/usr/bin/python3")" | sed 's/python//')
    platforms=$(seq 17 36 | sed 's/.*/--platform manylinux_2_&_aarch64/')
    # shellcheck disable=SC2086
    "$host_python" -m pip install --quiet --disable-pip-version-check --no-compile --target "$site" \
        $platforms --platform manylinux2014_aarch64 --only-binary=:all: --implementation cp \
        --python-version "$version" onnxruntime openvino numpy pillow typer >&2 \
        || { echo "aarch64 wheels cannot be fetched here" >&2; exit 77; }

    # An interpreter that starts others like itself: sys.executable is this script. The Cortex-A76 is a Raspberry Pi 5's
    # core. Not `max`: with SVE, OpenVINO 2026.4 under qemu 7.2 gives zero for every second value of an i8 tensor that
    # it converts to float, and emulation cannot tell whose fault that is.
    cat > "$python" << EOF
#!/bin/sh
exec $qemu -cpu cortex-a76 -L "$root" -0 "\$0" "$root/usr/bin/python$version" "\$@"
EOF
    chmod +x "$python"

    # Emulation shows the host's /proc/cpuinfo, at which onnxruntime's detection of Arm cores ends the process. What
    # the emulated CPU tells of itself (the kernel's names of its auxiliary vector's bits) stands there instead.
    "$python" - "$root/proc/cpuinfo" << 'EOF'
import ctypes, os, sys
WORDS = {
    16: "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 "
        "sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg",
    26: "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm svebf16 i8mm bf16 "
        "dgh rng bti mte",
}
auxv = ctypes.CDLL(None).getauxval
auxv.restype, auxv.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
features = [name for word, names in WORDS.items() for bit, name in enumerate(names.split()) if auxv(word) >> bit & 1]
os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)
with open(sys.argv[1], "w") as file:
    for core in range(os.cpu_count()):
        file.write(f"processor\t: {core}\nFeatures\t: {' '.join(features)}\nCPU implementer\t: 0x41\n"
                   "CPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: 0xd0b\nCPU revision\t: 1\n\n")
EOF
    touch "$cache/ready"
}

[ -e "$cache/ready" ] || build
PYTHONPATH=$here:$site PYTHONPYCACHEPREFIX=$cache/pycache exec "$python" -s -m edge_tl "$@"
