#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the wheel, installs it into an empty virtual environment with nothing but NumPy, and runs the tests there: every
# library must come from the wheel.
# shellcheck source=tests/python/python.sh
. "${M2SNET_SOURCE_DIR:?run through ctest}/tests/python/python.sh"
need_python "import numpy, setuptools, wheel, ensurepip, pip, venv; print('pip', pip.__version__)" \
    "python3-numpy python3-venv python3-pip python3-setuptools python3-wheel"
command -v patchelf >/dev/null || { echo "needs patchelf (Debian: patchelf)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# setuptools writes beside its sources: a copy of what it reads.
mkdir -p "$work/source/bindings"
cp -R "$binding" "$work/source/bindings/python"
cp -R "$M2SNET_SOURCE_DIR/include" "$M2SNET_SOURCE_DIR/LICENSE" "$work/source"
rm -rf "$work/source/bindings/python/build"
M2SNET_LIBRARY=${M2SNET_LIB_DIR:?}/libm2snet.so "$python" -m pip --quiet wheel --no-build-isolation --no-deps \
    --wheel-dir "$work/wheels" "$work/source/bindings/python"
wheel=$(echo "$work"/wheels/m2snet-*-py3-none-linux_*.whl)
[ -f "$wheel" ] || { echo "no wheel was built"; ls "$work/wheels"; exit 1; }
echo "$(basename "$wheel"): $(wc -c <"$wheel") bytes"

"$python" -m venv "$work/environment"
inside=$work/environment/bin/python
if ! "$inside" -m pip --quiet --disable-pip-version-check install --only-binary :all: 'numpy>=1.20' >"$work/numpy.log" 2>&1; then
    echo "no NumPy from the package index ($(tail -n 1 "$work/numpy.log")): this machine's own"
    packages=$("$inside" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
    numpy=$("$python" -c 'import numpy, pathlib; print(pathlib.Path(numpy.__file__).parent)')
    cp -RL "$numpy" "$packages/numpy"
    [ ! -d "$numpy.libs" ] || cp -R "$numpy.libs" "$packages/numpy.libs"
fi
"$inside" -m pip --quiet --disable-pip-version-check install --no-index --no-deps "$wheel"

# A bare environment: no variable points to the build, and the interpreter's own folder is all of the path.
cp -R "$here" "$work/tests"
cd "$work/tests"
bare=(env -i HOME="$work" PATH=/usr/bin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 M2SNET_SOURCE_DIR="$M2SNET_SOURCE_DIR")
"${bare[@]}" "$inside" - "$work/environment" <<'CHECK'
import sys
import m2snet
import common

assert m2snet.__file__.startswith(sys.argv[1]), m2snet.__file__
assert m2snet.library_path.startswith(sys.argv[1]), m2snet.library_path
assert common.model().predict(common.picture_paths()[0]).found
assert "PIL" not in sys.modules
names = ("m2snet", "dnnl", "gomp", "jansson", "nettle", "zip", "png16", "jpeg")  # libcrypto may be the interpreter's, too
mapped = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
ours = [path for path in mapped if path.rsplit("/", 1)[1].startswith(tuple("lib" + name for name in names))]
strays = [path for path in ours if not path.startswith(sys.argv[1])]
assert len(ours) >= 6, mapped
assert not strays, strays
print(len(ours), "libraries, all from the wheel")
CHECK
"${bare[@]}" "$inside" -m unittest -q test_library test_errors test_predict test_zero_copy test_image test_metrics \
    test_examples
