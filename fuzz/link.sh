#!/bin/sh
# Links a compiled module without the sanitizers' runtime: that is in the library which is loaded
# first (run.sh), and Debian's clang comes without it.
for argument; do
    shift
    case $argument in
    -fsanitize=*) ;;
    *) set -- "$@" "$argument" ;;
    esac
done
exec clang -shared "$@"
