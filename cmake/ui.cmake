# The browser's app inside the program: ui/src -> esbuild -> one C file of bytes, part of module web.
file(GLOB UI_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/ui/src/*)
set(UI_ASSETS ${CMAKE_BINARY_DIR}/ui/web_assets.c)
add_custom_command(
  OUTPUT ${UI_ASSETS}
  COMMAND ${NODE_PROGRAM} ${CMAKE_SOURCE_DIR}/ui/build.mjs --out ${CMAKE_BINARY_DIR}/ui/dist --embed ${UI_ASSETS}
  DEPENDS ${UI_SOURCES} ${CMAKE_SOURCE_DIR}/ui/build.mjs ${CMAKE_SOURCE_DIR}/package-lock.json
  VERBATIM)
target_sources(web PRIVATE ${UI_ASSETS})

file(GLOB UI_TESTS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/ui/test/*.test.mjs)
if(UI_TESTS)
  add_test(NAME unit/ui COMMAND ${NODE_PROGRAM} --test ${UI_TESTS})
  set_tests_properties(unit/ui PROPERTIES TIMEOUT 300)
endif()
