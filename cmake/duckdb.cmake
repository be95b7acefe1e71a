# DuckDB's C library comes in an npm package (package.json); Debian has none. The package holds no
# header, so src/lake/duckdb_api.h declares the functions that are used.
set(DUCKDB_DIR ${CMAKE_SOURCE_DIR}/node_modules/@duckdb/node-bindings-linux-x64)
add_library(duckdb SHARED IMPORTED GLOBAL)
set_target_properties(duckdb PROPERTIES IMPORTED_LOCATION ${DUCKDB_DIR}/libduckdb.so IMPORTED_NO_SONAME TRUE)
if(NOT EXISTS ${DUCKDB_DIR}/libduckdb.so)
  message(FATAL_ERROR "libduckdb.so is missing: run 'make deps' first (npm ci)")
endif()
set(CMAKE_BUILD_RPATH ${DUCKDB_DIR})
