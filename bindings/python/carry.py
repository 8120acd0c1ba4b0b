# SPDX-License-Identifier: Apache-2.0
"""Copies a shared library and what it needs beyond the C library into a folder that can be moved anywhere.

Each library gets a file name and a soname with a part of its checksum, and looks for the others beside itself
($ORIGIN). So another package's libjpeg.so.62 in the same process is never taken for this one, nor this one for it.
glibc, libgcc_s and libstdc++ stay the system's: they must be one for the process, and NumPy's own wheels ask for them.
"""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
from typing import Dict, List, Optional

SYSTEM = re.compile(r"^(ld-linux.*|linux-vdso|lib(c|m|pthread|dl|rt|util|gcc_s|stdc\+\+))\.so(\..*)?$")


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed(library: pathlib.Path) -> Dict[str, pathlib.Path]:
    """soname -> file of everything that a library needs, directly or not, without the system's."""
    found = {}
    for line in _output("ldd", str(library)).splitlines():
        match = re.match(r"\s*(\S+) => (.*?)(?: \(0x[0-9a-f]+\))?$", line)
        if match is None or SYSTEM.match(match[1]):
            continue
        if match[2] == "not found":
            raise SystemExit(f"{library} needs {match[1]}, which is not on this machine")
        found[match[1]] = pathlib.Path(match[2]).resolve()
    return found


def package_of(file: pathlib.Path) -> Optional[str]:
    """The Debian package that a file belongs to, None elsewhere."""
    if shutil.which("dpkg-query") is None:
        return None
    # Where /lib is a link to /usr/lib the package may have either name.
    for path in (str(file), re.sub("^/usr", "", str(file))):
        done = subprocess.run(["dpkg-query", "-S", path], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.split(":")[0]
    return None


def _unique_name(soname: str, file: pathlib.Path) -> str:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    stem, dot, rest = soname.partition(".so")
    return f"{stem}-{digest}{dot}{rest}"


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755)


def carry(library: pathlib.Path, folder: pathlib.Path, licence: pathlib.Path) -> None:
    """Fills folder with libm2snet.so and the rest; with M2SNET_WHEEL_SYSTEM=1 with libm2snet.so alone."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    target = folder / "libm2snet.so"
    _copy(library.resolve(), target)
    texts = folder / "licenses"
    texts.mkdir()
    shutil.copyfile(licence, texts / "libm2snet.txt")
    if os.environ.get("M2SNET_WHEEL_SYSTEM") == "1":
        return
    if shutil.which("patchelf") is None:
        raise SystemExit(
            "patchelf is needed to carry the libraries that libm2snet needs (Debian: patchelf). "
            "M2SNET_WHEEL_SYSTEM=1 makes a wheel that takes them from the system."
        )
    files = needed(library)
    names = {soname: _unique_name(soname, file) for soname, file in files.items()}
    replace: List[str] = []
    for soname, name in names.items():
        replace += ["--replace-needed", soname, name]
        _copy(files[soname], folder / name)
    # One change a call: patchelf 0.14 forgets replacements that come together with another change.
    for file in [target, *(folder / name for name in names.values())]:
        if replace:
            _output("patchelf", *replace, str(file))
        if file is not target:
            _output("patchelf", "--set-soname", file.name, str(file))
        _output("patchelf", "--set-rpath", "$ORIGIN", str(file))
    _copy_licences(files, names, folder)


def _copy_licences(files: Dict[str, pathlib.Path], names: Dict[str, str], folder: pathlib.Path) -> None:
    """A list of what is carried, and each package's licence text where the system has it."""
    texts = folder / "licenses"
    lines = ["Libraries that are carried beside libm2snet.so, unmodified but for their names and search paths:", ""]
    for soname, file in sorted(files.items()):
        package = package_of(file)
        line = f"{names[soname]}: {soname}"
        if package is not None:
            line += ", Debian package " + _output("dpkg-query", "-W", "-f=${Package} ${Version}\n", package).split("\n")[0]
            copyright_file = pathlib.Path("/usr/share/doc") / package / "copyright"
            if copyright_file.is_file():
                shutil.copyfile(copyright_file, texts / f"{package}.txt")
                line += f", licenses/{package}.txt"
        lines.append(line)
    (folder / "CARRIED.txt").write_text("\n".join(lines) + "\n")
