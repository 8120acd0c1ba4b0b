# SPDX-License-Identifier: Apache-2.0
# Cross build for 64-bit ARM with Debian's compiler; programs run under qemu-user and are static, so that they need no
# libraries of that processor on this machine.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
find_program(qemu NAMES qemu-aarch64-static qemu-aarch64)
if(qemu)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${qemu})
endif()
