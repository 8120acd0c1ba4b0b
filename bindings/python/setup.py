# SPDX-License-Identifier: Apache-2.0
"""Builds a wheel that carries libm2snet and the libraries that it needs; README.md has the environment variables."""

import os
import pathlib
import re
import subprocess
import sys

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import carry  # noqa: E402


def version() -> str:
    """The header is the one place where the version is written."""
    header = ROOT / "include" / "m2snet.h"
    if not header.is_file():
        raise SystemExit(f"{header} is missing: build the wheel in the source tree of libm2snet")
    return re.search(r'#define M2SNET_VERSION_STRING "(.*)"', header.read_text())[1]


def library() -> pathlib.Path:
    """M2SNET_LIBRARY, or build/release of this source tree, or one that is built now."""
    if os.environ.get("M2SNET_LIBRARY"):
        return pathlib.Path(os.environ["M2SNET_LIBRARY"])
    ready = ROOT / "build" / "release" / "lib" / "libm2snet.so"
    if not ready.is_file():
        folder = ROOT / "build" / "wheel"
        options = ["-DCMAKE_BUILD_TYPE=Release", "-DM2SNET_BUILD_TESTS=OFF", "-DM2SNET_BUILD_EXAMPLES=OFF"]
        subprocess.run(["cmake", "-S", ROOT, "-B", folder, *options], check=True)
        subprocess.run(["cmake", "--build", folder, "--target", "m2snet", "--parallel"], check=True)
        ready = folder / "lib" / "libm2snet.so"
    return ready


class BuildWithLibrary(build_py):
    """The modules, and the libraries in m2snet/lib."""

    def run(self) -> None:
        super().run()
        if not getattr(self, "editable_mode", False):
            carry.carry(library(), pathlib.Path(self.build_lib) / "m2snet" / "lib", ROOT / "LICENSE")


class PlatformWheel(bdist_wheel):
    """One wheel for every Python 3 on this kind of machine: the modules call the library through ctypes."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])


class PlatformDistribution(Distribution):
    """Goes to platlib."""

    def has_ext_modules(self) -> bool:
        return True


setup(
    version=version(),
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel},
    distclass=PlatformDistribution,
)
