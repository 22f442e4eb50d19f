# What `find_package(schuss)` finds.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(SCHUSS_CONFIG_FOLDER ${CMAKE_INSTALL_LIBDIR}/cmake/schuss)
if(NOT OpenMP_CXX_FOUND)
  set(OpenMP_CXX_FOUND FALSE)
endif()
configure_package_config_file(cmake/schuss-config.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/schuss-config.cmake
                              INSTALL_DESTINATION ${SCHUSS_CONFIG_FOLDER})
write_basic_package_version_file(schuss-config-version.cmake COMPATIBILITY SameMinorVersion)
install(TARGETS schuss EXPORT schuss-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY cpp/include/schuss DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT schuss-targets NAMESPACE schuss:: DESTINATION ${SCHUSS_CONFIG_FOLDER})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/schuss-config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/schuss-config-version.cmake DESTINATION ${SCHUSS_CONFIG_FOLDER})
