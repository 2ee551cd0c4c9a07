#!/usr/bin/env bash
# What CMake says where something is missing: the Debian package by name, and how to install it.
#   configure.sh SOURCE_FOLDER [COMPILER]
set -uo pipefail
source=$1
cc=${2:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tests=0 failures=0

# refused NAME TEXT CMAKE-OPTION...: configuring fails and says the text.
refused() {
    local name=$1 text=$2
    shift 2
    tests=$((tests + 1))
    rm -rf "$work/build"
    if cmake -S "$source" -B "$work/build" -DCMAKE_C_COMPILER="$cc" "$@" >"$work/out" 2>&1; then
        echo "# it was configured" >&2
    elif tr -s ' \n' ' ' <"$work/out" | grep -qF -e "$text"; then
        echo "ok $tests - $name"
        return
    else
        printf '# not found: %s\n' "$text" >&2
        tail -n 20 "$work/out" >&2
    fi
    echo "not ok $tests - $name"
    failures=$((failures + 1))
}

install='Install them with apt-get install'
refused "without oneDNN" "packages that are not installed: libdnnl-dev $install libdnnl-dev" -DMNEME_dnnl_INCLUDE=
refused "without oneDNN's library" "packages that are not installed: libdnnl-dev $install" -DMNEME_dnnl_LIBRARY=
refused "without several" "not installed: libcjson-dev libzip-dev libcmocka-dev $install" \
    -DMNEME_cjson_INCLUDE= -DMNEME_zip_LIBRARY= -DMNEME_CMOCKA_INCLUDE=

# A oneDNN whose interface nobody here knows.
mkdir -p "$work/old/oneapi/dnnl" || exit 1
touch "$work/old/oneapi/dnnl/dnnl.h"
printf '#define DNNL_VERSION_%s %d\n' MAJOR 1 MINOR 7 PATCH 0 >"$work/old/oneapi/dnnl/dnnl_version.h"
refused "with oneDNN 1" "mneme needs oneDNN 2 or 3, found '1.7.0' (package libdnnl-dev) in $work/old" \
    -DMNEME_dnnl_INCLUDE="$work/old"

# A compiler that says it is older than it is.
# shellcheck disable=SC2016
printf '#!/bin/sh\nexec gcc -U__GNUC__ -D__GNUC__=11 "$@"\n' >"$work/old/gcc"
chmod +x "$work/old/gcc"
cc=$work/old/gcc
refused "with gcc 11" "mneme needs gcc 12 or clang 14, or later ones; this is GNU 11."

echo "1..$tests"
[ $failures = 0 ]
