#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Unpacks Debian sid's llama.cpp with all libraries that it needs into a folder, to compare with.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/say.sh

usage() {
    cat <<'END'
tools/fetch-llama.sh ARCH FOLDER

Downloads llama.cpp-tools of Debian sid for ARCH (amd64, arm64) and the packages that it depends on,
about 20 MB, and unpacks them into FOLDER. Nothing is installed. tools/compare_speed.py and
tools/count_instructions.py run the programs with the libraries in there.

Needs: apt, dpkg, debian-archive-keyring (Debian 12).
Exit codes: 0 ok, 1 a download failed, 2 usage.
Example: tools/fetch-llama.sh arm64 build/llama-arm64
END
}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    usage
    exit 0
fi
if [[ $# -ne 2 || ! $1 =~ ^(amd64|arm64)$ ]]; then
    usage >&2
    exit 2
fi
arch=$1
mkdir -p "$2"
root=$(cd "$2" && pwd)

# Lists and archives of our own: the system's apt is not touched.
apt=$root/.apt
mkdir -p "$apt"/{state/lists/partial,cache/archives/partial}
: >"$apt/status"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [arch=$arch signed-by=$keyring] http://deb.debian.org/debian sid main" >"$apt/sources.list"
options=(-qq -o "Dir::State=$apt/state" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache"
    -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferencesparts=/dev/null -o "APT::Architecture=$arch" -o "APT::Architectures=$arch"
    -o APT::Sandbox::User=root)

say "fetching llama.cpp of Debian sid for $arch"
apt-get "${options[@]}" update || fail "the package lists of sid cannot be fetched; is there a network?"
apt-get "${options[@]}" -d -y --no-install-recommends install llama.cpp-tools libggml0 ||
    fail "the packages cannot be fetched; try again later"
for package in "$apt"/cache/archives/*.deb; do dpkg -x "$package" "$root"; done

# The back ends are looked for beside the program, which here is the loader.
lib=$(echo "$root"/usr/lib/*-linux-gnu)
(cd "$lib" && for so in ggml/backends0/*.so; do ln -sf "$so" .; done)
rm -rf "$apt"
say "unpacked into $root"
