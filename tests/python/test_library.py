# SPDX-License-Identifier: Apache-2.0
"""Loading: which library, and whether its structs are the ones that the modules declare."""

import ctypes
import ctypes.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import common
import m2snet
from m2snet import _library, _structs

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(m2snet.__file__)))


def import_with(library):
    """Imports the package in a new process with M2SNET_LIBRARY set; returns the last line of its output."""
    environment = dict(os.environ, M2SNET_LIBRARY=str(library), PYTHONPATH=PACKAGE)
    code = "try:\n import m2snet\n print('loaded', m2snet.library_path)\nexcept ImportError as e: print('ImportError', e)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Loading(unittest.TestCase):
    def test_version(self):
        header = (common.ROOT / "include" / "m2snet.h").read_text()
        version = re.search(r'#define M2SNET_VERSION_STRING "(.*)"', header)[1]
        self.assertEqual(m2snet.__version__, version)
        self.assertEqual(int(re.search(r"#define M2SNET_ABI (\d+)", header)[1]), _library.ABI)

    def test_named_by_environment(self):
        named = os.path.relpath(common.library_file())
        self.assertEqual(import_with(named), f"loaded {named}")

    def test_missing_file(self):
        message = import_with("/nowhere/libm2snet.so")
        self.assertRegex(message, "^ImportError .*/nowhere/libm2snet.so.*M2SNET_LIBRARY names it")

    def test_other_library(self):
        other = ctypes.util.find_library("m")
        self.assertRegex(import_with(other), f"^ImportError {re.escape(other)} is not libm2snet")

    def test_other_struct_size(self):
        # The library says that an option struct has another size than ours.
        class Longer(ctypes.Structure):
            _fields_ = _structs.PredictOptions._fields_ + [("more", ctypes.c_double)]

        self.assertEqual(_structs.check(_library.library.m2snet_struct_size), [])
        with mock.patch.dict(_structs.STRUCTS, {"m2snet_predict_options": Longer}):
            self.assertRegex(
                _structs.check(_library.library.m2snet_struct_size)[0], r"m2snet_predict_options has \d+ bytes here, \d+"
            )
            with self.assertRaisesRegex(ImportError, "m2snet_predict_options has"):
                _library._load()

    def test_other_abi(self):
        with mock.patch.object(_library, "ABI", 77):
            with self.assertRaisesRegex(ImportError, "with ABI 0; this package is written for ABI 77"):
                with mock.patch.dict(os.environ, {"M2SNET_LIBRARY": m2snet.library_path}):
                    _library._load()


class Cuda(unittest.TestCase):
    def test_search_is_of_cuda_alone(self):
        for backend in ("auto", "cpu", "ref"):
            with self.assertRaisesRegex(ValueError, "cuda_search is of backend"):
                m2snet.Context(backend, cuda_search=True)

    def test_search(self):
        module = os.path.join(os.environ.get("M2SNET_LIB_DIR", ""), "m2snet-cuda-simulated.so")
        if not os.path.exists(module):
            self.skipTest("no module m2snet-cuda-simulated.so")
        with m2snet.Context("cuda", backend_path=module, cuda_search=True) as context:
            self.assertEqual(context.info.backend, "cuda")


class Structs(unittest.TestCase):
    def test_every_offset(self):
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler is None:
            self.skipTest("no C compiler here")
        lines, expected = [], []
        for name, struct in _structs.STRUCTS.items():
            for field in struct._fields_:
                place = getattr(struct, field[0])
                expected.append(f"{name}.{field[0]} {place.offset} {place.size}")
                member = f"(({name} *)0)->{field[0]}"
                lines.append(
                    f'printf("{name}.{field[0]} %zu %zu\\n", offsetof({name}, {field[0]}), sizeof({member}));'
                )
        with tempfile.TemporaryDirectory() as folder:
            source, program = os.path.join(folder, "offsets.c"), os.path.join(folder, "offsets")
            with open(source, "w") as file:
                file.write('#include <stdio.h>\n#include "m2snet.h"\nint main(void) {\n%s\nreturn 0; }\n' % "\n".join(lines))
            subprocess.run([compiler, "-I", common.ROOT / "include", source, "-o", program], check=True)
            said = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
        self.assertGreater(len(_structs.STRUCTS), 20)
        self.assertGreater(len(said), 150)
        self.assertEqual(said, expected)


if __name__ == "__main__":
    unittest.main()
