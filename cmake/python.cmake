find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
find_package(pybind11 CONFIG REQUIRED)

file(GLOB SCHUSS_BIND CONFIGURE_DEPENDS cpp/bind/*.cpp)
pybind11_add_module(_core MODULE ${SCHUSS_BIND})
target_include_directories(_core PRIVATE cpp/src)
target_compile_definitions(_core PRIVATE SCHUSS_VERSION="${PROJECT_VERSION}")
target_link_libraries(_core PRIVATE schuss schuss_flags)

# The public classes are made from the catalog, so their stubs are written by the module itself.
set(SCHUSS_STUBS ${CMAKE_CURRENT_BINARY_DIR}/stubs/optimizers.pyi ${CMAKE_CURRENT_BINARY_DIR}/stubs/ops.pyi)
add_custom_command(
  OUTPUT ${SCHUSS_STUBS}
  COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/stubs
  COMMAND ${Python_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/cmake/write_stubs.py $<TARGET_FILE:_core>
          ${CMAKE_CURRENT_BINARY_DIR}/stubs
  DEPENDS _core ${CMAKE_CURRENT_SOURCE_DIR}/cmake/write_stubs.py
          ${CMAKE_CURRENT_SOURCE_DIR}/python/schuss/_engine/wording.py)
add_custom_target(stubs ALL DEPENDS ${SCHUSS_STUBS})

install(TARGETS _core DESTINATION schuss)
install(FILES ${SCHUSS_STUBS} DESTINATION schuss)
install(DIRECTORY cpp/include/schuss DESTINATION schuss/include)
install(DIRECTORY bench/ DESTINATION schuss/bench FILES_MATCHING PATTERN "*.py" PATTERN results EXCLUDE)
