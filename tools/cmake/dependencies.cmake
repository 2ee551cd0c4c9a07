# What mneme stands on, in one list. CMakeLists.txt includes this file, and so does the installed
# mnemeConfig.cmake. Each row becomes an imported target mneme::NAME; the Debian and Ubuntu packages
# of the rows that cannot be found are left in MNEME_MISSING.
#
# Plain find_path and find_library on purpose: they follow CMAKE_PREFIX_PATH, need no pkg-config, and
# Debian's own dnnl package file asks for OpenCL, which nothing here uses.
set(MNEME_MISSING "")
set(MNEME_DEPENDENCIES "")

macro(mneme_need name header library package)
    find_path(MNEME_${name}_INCLUDE ${header})
    find_library(MNEME_${name}_LIBRARY ${library})
    mark_as_advanced(MNEME_${name}_INCLUDE MNEME_${name}_LIBRARY)
    if(NOT MNEME_${name}_INCLUDE OR NOT MNEME_${name}_LIBRARY)
        list(APPEND MNEME_MISSING ${package})
    else()
        list(APPEND MNEME_DEPENDENCIES mneme::${name})
        if(NOT TARGET mneme::${name})
            add_library(mneme::${name} UNKNOWN IMPORTED)
            set_target_properties(mneme::${name} PROPERTIES
                IMPORTED_LOCATION "${MNEME_${name}_LIBRARY}"
                INTERFACE_INCLUDE_DIRECTORIES "${MNEME_${name}_INCLUDE}")
        endif()
    endif()
endmacro()

#          name      header               library   package
mneme_need(cjson     cjson/cJSON.h        cjson     libcjson-dev)
mneme_need(pcre2     pcre2.h              pcre2-8   libpcre2-dev)
mneme_need(utf8proc  utf8proc.h           utf8proc  libutf8proc-dev)
mneme_need(zip       zip.h                zip       libzip-dev)
mneme_need(crypto    openssl/evp.h        crypto    libssl-dev)
mneme_need(dnnl      oneapi/dnnl/dnnl.h   dnnl      libdnnl-dev)

# oneDNN 2 and 3 have different interfaces; the code knows both.
if(MNEME_dnnl_INCLUDE)
    set(MNEME_DNNL_VERSION "")
    file(STRINGS ${MNEME_dnnl_INCLUDE}/oneapi/dnnl/dnnl_version.h mneme_lines
         REGEX "^#define DNNL_VERSION_(MAJOR|MINOR|PATCH) +[0-9]+")
    foreach(mneme_line IN LISTS mneme_lines)
        string(REGEX MATCH "[0-9]+$" mneme_number "${mneme_line}")
        list(APPEND MNEME_DNNL_VERSION ${mneme_number})
    endforeach()
    list(JOIN MNEME_DNNL_VERSION "." MNEME_DNNL_VERSION)
endif()

find_package(OpenMP QUIET COMPONENTS C)
if(NOT OpenMP_C_FOUND)
    if(CMAKE_C_COMPILER_ID MATCHES "Clang")
        list(APPEND MNEME_MISSING libomp-dev)
    else()
        list(APPEND MNEME_MISSING gcc)
    endif()
endif()
