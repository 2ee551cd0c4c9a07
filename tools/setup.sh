#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that mneme needs and that are missing.
#   tools/setup.sh           what a build needs
#   tools/setup.sh --check   and what tools/check.sh needs: clang with its sanitizers, clang-format, an MPI, a SLURM
# Nothing is missing: says nothing and takes no time. Works as root, else through sudo.
set -euo pipefail

build='gcc libc6-dev cmake ninja-build pkg-config
    libcjson-dev libpcre2-dev libutf8proc-dev libzip-dev libssl-dev libdnnl-dev libcmocka-dev'
check='clang libclang-rt-dev clang-format llvm libomp-dev git libopenmpi-dev openmpi-bin slurm-wlm munge'

wanted=$build
case "${1:-}" in
'') ;;
--check) wanted="$build $check" ;;
*) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    cat >&2 <<TEXT
tools/setup.sh installs packages with apt-get, which is not here. Please install with your own
package manager: a C17 compiler with OpenMP (gcc 12 or clang 14), CMake 3.22 or later, Ninja, pkg-config
and the development files of cJSON, PCRE2 (8 bit), utf8proc, libzip, OpenSSL, oneDNN 2 or 3 and cmocka.
Their names on Debian and Ubuntu: $(tr -s "\n " " " <<<"$build")
TEXT
    exit 1
fi

missing=''
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=" $package"
done

# Takes those packages of $check out of $missing that this release does not have: Ubuntu 22.04 has
# clang's sanitizers in another package. Needs apt's lists, which a fresh machine lacks.
leave_out() {
    local package kept=''
    apt-cache show gcc >/dev/null 2>&1 || return 0
    for package in $missing; do
        case " $(tr -s "\n " " " <<<"$check") " in
        *" $package "*) apt-cache show "$package" >/dev/null 2>&1 || continue ;;
        esac
        kept+=" $package"
    done
    missing=$kept
}
[ -z "$missing" ] || leave_out
[ -n "$missing" ] || exit 0

as_root=''
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        printf 'Missing packages. As root, run:\n  apt-get install%s\n' "$missing" >&2
        exit 1
    fi
    as_root=sudo
fi
printf 'setup: installing%s\n' "$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086  # package names are words
if ! { $as_root apt-get update && leave_out &&
    { [ -z "$missing" ] || $as_root apt-get install -y --no-install-recommends $missing; }; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    printf 'setup: apt-get could not install%s\n' "$missing" >&2
    exit 1
fi
printf 'setup: done\n'
