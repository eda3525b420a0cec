# Sourced by tests that need packages of another Debian suite, in a root of its own that is made once.
#   make_root SUITE ROOT PACKAGE...   makes it, or finds it; ends the script where that cannot be
#   skip REASON                       exit code 77, or 1 with HETUNE_REQUIRE_ROCM=1
# Needs root and debootstrap. Packages come from where this machine gets its own.

skip() {
    echo "skipped: $*"
    [ "${HETUNE_REQUIRE_ROCM:-0}" = 1 ] && exit 1
    exit 77
}

# Of two tests that start together one makes the root; file 9 stays locked.
make_root() {
    local suite=$1 root=$2
    shift 2
    [ "$(id -u)" = 0 ] || skip "making a Debian root takes root"
    command -v debootstrap > /dev/null || skip "debootstrap is not installed"
    mkdir -p "$(dirname "$root")"
    exec 9> "$root.lock"
    flock 9
    [ -e "$root/.complete" ] && return
    local release mirror log="$root.log"
    # shellcheck source=/dev/null
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # The dollar signs are apt's own.
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk -v release="$release" '$1 == release { print $2; exit }')
    [ -n "$mirror" ] || skip "no mirror of Debian $release among this machine's apt sources"
    rm -rf "$root"
    # The script of sid serves suites that this debootstrap does not know yet.
    debootstrap --variant=minbase --no-check-gpg "$suite" "$root" "$mirror" sid > "$log" 2>&1 ||
        skip "debootstrap of $suite failed; see $log"
    {
        chroot "$root" apt-get -o Acquire::Check-Valid-Until=false update &&
            chroot "$root" apt-get install -y --no-install-recommends "$@"
    } >> "$log" 2>&1 || skip "$suite has no installable $*; see $log"
    touch "$root/.complete"
}
