# shellcheck shell=bash
# Sourced by dist.sh and dist-check.sh. ARCH is amd64 or arm64, or by default what this machine is. Sets
# `arch`, as Debian names it, and `machine`, as the kernel does.
case ${ARCH:-$(uname -m)} in
    amd64 | x86_64) arch=amd64 machine=x86_64 ;;
    arm64 | aarch64) arch=arm64 machine=aarch64 ;;
    *) fail "ARCH=${ARCH:-$(uname -m)}: expected amd64 or arm64" ;;
esac
