#!/usr/bin/env bash
# What a machine needs before pip can do the rest: a Python with venv and headers, a C compiler,
# and the programs that the demo, the tests or the benchmarks run. What is missing is installed
# where apt-get can do it without asking; elsewhere this says what to install, and exits 1.
#
#   tools/bootstrap.sh demo|test|images|bench|fuzz   prints the Python to use on stdout, all else on stderr
#
# PYTHON=... chooses another one.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # Debian keeps nginx out of people's PATH

programs=(make curl)
optional=() # installed with the others; that they cannot be had is said, and no more
case ${1-} in
demo) ;;
test)
    programs+=(nginx)
    optional+=(haproxy nodejs wget hey) # what tests/interop has in front of the proxy and behind it
    # What tests/sidecar makes networks of, and has talk through them.
    optional+=(iptables iproute2 conntrack netcat-openbsd redis-server redis-tools mariadb-server)
    optional+=(postgresql nghttp2-server nghttp2-client openssl)
    optional+=(systemd) # whose protocols are tested with its own programs
    ;;
images)
    programs+=(buildah mmdebstrap)
    optional+=(iptables iproute2)
    ;;
fuzz) programs+=(clang) ;;
bench)
    programs+=(nginx wrk)
    optional+=(haproxy)
    ;;
*)
    echo "usage: $0 demo|test|images|bench|fuzz" >&2
    exit 2
    ;;
esac

say() { echo "bootstrap: $*" >&2; }

find_python() { # the first that can make a virtual environment, and compile for it
    local name
    for name in ${PYTHON:-python3.13 python3.12 python3.11 python3.14 python3 /usr/bin/python3}; do
        "$name" - 2>/dev/null <<'EOF' && return
import ensurepip, os, sys, sysconfig, venv
assert sys.version_info >= (3, 11)
assert os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
print(sys.executable)
EOF
    done
    return 1
}

without() { # of these packages of Debian, whose program has the same name or one that is given
    # here, those that are not here
    local package program
    for package in "$@"; do
        case $package in
        iproute2) program=ip ;;
        netcat-openbsd) program=nc ;;
        systemd) program=systemd-socket-activate ;;
        redis-tools) program=redis-cli ;;
        mariadb-server) program=mariadbd ;;
        postgresql) program=pg_ctlcluster ;;
        nghttp2-server) program=nghttpd ;;
        nghttp2-client) program=h2load ;;
        *) program=$package ;;
        esac
        command -v "$program" >/dev/null || echo "$package"
    done
}

missing() { # Debian's names for what is not here, one a line
    find_python >/dev/null || printf '%s\n' python3 python3-venv python3-dev
    command -v cc >/dev/null && [ -e /usr/include/stdlib.h ] || printf '%s\n' gcc libc6-dev
    without "${programs[@]}"
}

apt_install() {
    local log policy=/usr/sbin/policy-rc.d as_root=()
    log=$(mktemp)
    [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    if [ ! -e $policy ]; then # packages must not start their services: tests start their own nginx
        trap '"${as_root[@]}" rm -f '$policy EXIT
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
        "${as_root[@]}" chmod 755 $policy
    fi
    if ! {
        "${as_root[@]}" apt-get update
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends "$@"
    } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        say "apt-get could not install $*"
    fi
    rm -f "$log"
}

can_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

install() {
    if [ $# -gt 0 ] && can_install; then
        say "installing $* (about a minute)"
        apt_install "$@"
    fi
}

if [ -n "${PYTHON-}" ] && ! find_python >/dev/null; then
    say "PYTHON=$PYTHON is no Python 3.11 or newer with venv and headers"
    exit 1
fi
mapfile -t lacking < <(missing)
install "${lacking[@]}"
mapfile -t lacking < <(without "${optional[@]}")
install "${lacking[@]}"
if [ ${#lacking[@]} -gt 1 ]; then # one that cannot be had fails them all
    for program in $(without "${lacking[@]}"); do install "$program"; done
fi
mapfile -t lacking < <(without "${optional[@]}")
[ ${#lacking[@]} = 0 ] || say "going on without ${lacking[*]}"
[ "$1" != test ] || "$(dirname "$0")/kustomize.sh" >/dev/null || say "going on without kustomize"
mapfile -t lacking < <(missing)
if [ ${#lacking[@]} -gt 0 ]; then
    say "please install (Debian's names): ${lacking[*]}"
    case ${lacking[*]} in *python3*) say "Python must be 3.11 or newer; PYTHON=/path/to/it chooses one" ;; esac
    exit 1
fi
find_python
