# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts where: header, both libraries, pkg-config file, CMake package, licence. The programs are
# installed by examples/CMakeLists.txt.
include(CMakePackageConfigHelpers)

string(REPLACE ";" " " M2SNET_PRIVATE_LIBS_TEXT "${M2SNET_PRIVATE_LIBS}")
# A relative install directory follows the .pc file, so that the installed tree can be moved (cmake --install --prefix
# moves it too); an absolute one is kept.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    set(M2SNET_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
    set(M2SNET_PC_LIBDIR ${CMAKE_INSTALL_LIBDIR})
else()
    cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig OUTPUT_VARIABLE up)
    cmake_path(APPEND up "x" OUTPUT_VARIABLE up)
    cmake_path(GET up PARENT_PATH up)
    set(M2SNET_PC_PREFIX "\${pcfiledir}/${up}")
    set(M2SNET_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(M2SNET_PC_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR})
else()
    set(M2SNET_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(pkgconfig/m2snet.pc.in m2snet.pc @ONLY)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/m2snet)
configure_package_config_file(
    cmake/m2snetConfig.cmake.in m2snetConfig.cmake
    INSTALL_DESTINATION ${package_dir}
    PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR
)
write_basic_package_version_file(m2snetConfigVersion.cmake COMPATIBILITY SameMinorVersion)

install(TARGETS m2snet LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${static_archive} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/m2snet.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_BINARY_DIR}/m2snet.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(
    FILES ${PROJECT_BINARY_DIR}/m2snetConfig.cmake ${PROJECT_BINARY_DIR}/m2snetConfigVersion.cmake
    DESTINATION ${package_dir}
)
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
