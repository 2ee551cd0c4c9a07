#!/usr/bin/env bash
# The main job on what the repository ships: installs what is missing, builds, and runs the whole
# experiment of configs/demo.json: prepares the claims and pages in data/demo, trains the memories of a small
# backbone that has never read these pages, evaluates them and the base, writes the report. All of it is
# in build/demo.
set -euo pipefail
cd "$(dirname "$0")/.."

quietly() { # COMMAND...: shows its output only when it fails
    mkdir -p build
    if ! "$@" >build/demo.log 2>&1; then
        grep -vE '^\[[0-9]+/[0-9]+\]' build/demo.log >&2
        exit 1
    fi
}

tools/setup.sh
echo "demo: building"
# A warning of a compiler that is newer than this program is no reason to stop here.
if [ ! -f build/release/build.ninja ]; then
    rm -rf build/release # what is left of a failed attempt would keep its compiler
    quietly cmake --preset release -DMNEME_WERROR=OFF
fi
quietly cmake --build build/release --target mneme_program

rm -rf build/demo
build/release/mneme run configs/demo.json
echo "demo: the report is build/demo/report/report.html (and report.md beside it)"
echo "The backbone has never read of these places: what it judges rightly beyond chance, a memory told it."
