#!/usr/bin/env bash
# Installs a build into a temporary prefix and builds app.c against it twice: with pkg-config and with
# find_package. What app.c prints is compared with the tensors that the safetensors header itself names.
#   run.sh BUILD_FOLDER [COMPILER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$1
cc=${2:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

expect() { # NAME WANT GOT
    if [ "$2" != "$3" ]; then
        printf '%s\n  expected: %s\n  got:      %s\n' "$1" "$2" "$3" >&2
        exit 1
    fi
    printf '%s: %s\n' "$1" "$3"
}

cmake --install "$build" --prefix "$work/prefix" >"$work/log" || { cat "$work/log" >&2; exit 1; }
# The package must work where it lies, not where it was built for.
mv "$work/prefix" "$work/moved"
prefix=$work/moved
libdir=$(dirname "$(dirname "$(find "$prefix" -name mneme.pc)")")
export LD_LIBRARY_PATH=$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

model=$here/../../data/demo-model
header_size=$(od -An -t u8 -N 8 "$model/model.safetensors" | tr -d ' ')
header=$(head -c $((8 + header_size)) "$model/model.safetensors" | tail -c +9)
tensors=$(grep -o '"shape"' <<<"$header" | wc -l)
numbers=$(grep -o '"shape": *\[[0-9, ]*\]' <<<"$header" | tr -d '": a-z[]' |
    awk -F, '{ n = 1; for (i = 1; i <= NF; i++) n *= $i; sum += n } END { print sum }')
version=$(sed -n 's/^#define MNEME_VERSION "\(.*\)"/\1/p' "$prefix/include/mneme/version.h")
want="mneme $version: $tensors tensors, $numbers numbers"

export PKG_CONFIG_PATH=$libdir/pkgconfig
# shellcheck disable=SC2046  # flags are words
"$cc" -std=c17 -Wall -Wextra -Werror $(pkg-config --cflags mneme) "$here/app.c" -o "$work/app" \
    $(pkg-config --libs mneme)
expect "pkg-config" "$want" "$("$work/app" "$model")"
expect "version of mneme.pc" "$version" "$(pkg-config --modversion mneme)"

if ! { cmake -S "$here" -B "$work/app.build" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$prefix" &&
    cmake --build "$work/app.build"; } >"$work/log" 2>&1; then
    cat "$work/log" >&2
    exit 1
fi
expect "find_package" "$want" "$("$work/app.build/app" "$model")"

# The installed program finds its library by itself.
expect "installed program" "mneme $version" "$(env -u LD_LIBRARY_PATH "$prefix/bin/mneme" --version | head -n 1)"
