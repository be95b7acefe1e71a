# Warnings, hardening and sanitizers, for every target of ours.
add_library(vg_flags INTERFACE)
target_compile_definitions(vg_flags INTERFACE _GNU_SOURCE VIGIL_VERSION="${PROJECT_VERSION}")
target_compile_options(vg_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
  -Wformat=2 -Wundef -fno-common -fno-omit-frame-pointer)
if(VG_WERROR)
  target_compile_options(vg_flags INTERFACE -Werror)
endif()
if(VG_SANITIZE)
  target_compile_options(vg_flags INTERFACE -fsanitize=${VG_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(vg_flags INTERFACE -fsanitize=${VG_SANITIZE})
endif()
if(CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  target_compile_options(vg_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
    -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE)
  target_link_options(vg_flags INTERFACE -pie -Wl,-z,relro,-z,now)
  # Asserts stay on: a store whose state is in doubt must stop.
  set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")
endif()
if(VG_FUZZ)
  target_compile_options(vg_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
