#!/usr/bin/env bash
# Prints the command that renders deploy/kustomize, whose components need kustomize 3.7: the
# machine's kubectl or kustomize; on a Debian whose own is older, the next release's package,
# unpacked into build/tools and not installed. Exits 1, and says why, where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
release=trixie # the first with a kustomize of its own
directory=$PWD/build/tools

say() { echo "kustomize: $*" >&2; }
renders() { # whether this command knows components
    "$@" deploy/kustomize/examples/httpbin >/dev/null 2>&1
}

for candidate in "kubectl kustomize" "kustomize build" "$directory/usr/bin/kustomize build"; do
    # shellcheck disable=SC2086
    if command -v ${candidate%% *} >/dev/null && renders $candidate; then
        echo "$candidate"
        exit 0
    fi
done
if ! command -v apt-get >/dev/null || [ "$(. /etc/os-release && echo "$ID")" != debian ]; then
    say "please install kubectl 1.21 or newer, or kustomize"
    exit 1
fi
say "unpacking kustomize of Debian's $release into build/tools (half a minute)"
# Where the machine's packages come from; with lists of its own, so that nothing of apt's changes.
origin=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    awk -v own="$(. /etc/os-release && echo "$VERSION_CODENAME")" '$2 == own { print $1; exit }')
mkdir -p "$directory/apt/lists/partial" "$directory/apt/cache/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $origin $release main" >"$directory/apt/sources.list"
apt() {
    apt-get -qq -o Dir::Etc::sourcelist="$directory/apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$directory/apt/lists" -o Dir::Cache="$directory/apt/cache" \
        -o Dir::State::status=/dev/null -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}
(cd "$directory/apt" && apt update && apt download kustomize && dpkg-deb -x kustomize_*.deb ..) >&2
rm -r "$directory/apt"
candidate="$directory/usr/bin/kustomize build"
# shellcheck disable=SC2086
renders $candidate || { say "what was unpacked does not work"; exit 1; }
echo "$candidate"
