include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
install(TARGETS schuss EXPORT schuss-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY cpp/include/schuss DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT schuss-targets NAMESPACE schuss:: FILE schuss-config.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/schuss)
write_basic_package_version_file(schuss-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/schuss-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/schuss)
