#!/bin/sh
# Installs Debian packages for their programs alone: as root, `sh install.sh PACKAGE...`. Nothing that comes with them is started or
# enabled for the next boot, no Debian cluster is made, and what was there before keeps running as it was. It refuses nothing and asks
# nothing; its callers do. Killed at any point, it leaves nothing that acts, and the next run finishes what it began.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

policy=/usr/sbin/policy-rc.d                                             # asked by invoke-rc.d and deb-systemd-invoke before they start a service
policy_before=/usr/sbin/policy-rc.d.before-howdah
no_cluster=/etc/postgresql-common/createcluster.d/zz-howdah-install.conf # read last by the postinst of postgresql-NN
before=/var/cache/howdah-enabled-before                                  # what was enabled; there only while an installation is unfinished
mark='written by howdah for the time of an installation'

put_back() {
    if [ -e "$policy_before" ] || [ -L "$policy_before" ]; then
        mv -f "$policy_before" "$policy"
    elif grep -qs "$mark" "$policy"; then
        rm -f "$policy"
    fi
    rm -f "$no_cluster" "$policy.new"
    if [ -n "${made_directories:-}" ]; then
        rmdir -p --ignore-fail-on-non-empty "${no_cluster%/*}" 2>/dev/null || true
    fi
}

# The variable is inherited by the maintainer scripts of our own apt only: a service that someone else restarts meanwhile is not our concern,
# and if this file outlives its installation it denies nothing. Theirs is kept as a second link, so there is no moment without a policy.
forbid_starts() {
    if [ -e "$policy" ]; then
        ln "$policy" "$policy_before"
    fi
    cat >"$policy.new" <<POLICY
#!/bin/sh
# $mark
[ -z "\${HOWDAH_INSTALLING:-}" ] || exit 101
[ ! -x $policy_before ] || exec $policy_before "\$@"
exit 0
POLICY
    chmod 755 "$policy.new"
    mv -f "$policy.new" "$policy"
}

# createcluster.conf itself belongs to the administrator (and to ucf, which would ask about a change).
forbid_cluster() {
    conf=/etc/postgresql-common/createcluster.conf
    if [ -e "$conf" ] && ! grep -Eq '^[[:space:]]*include_dir.*createcluster\.d' "$conf"; then
        grep -Eqi '^[[:space:]]*create_main_cluster[ =]+.?(false|off|no|0)' "$conf" && return
        echo "$conf does not read createcluster.d: add the line  create_main_cluster = false  to it, then try again" >&2
        exit 3
    fi
    [ -d "${no_cluster%/*}" ] || made_directories=yes
    mkdir -p "${no_cluster%/*}"
    printf '# %s\ncreate_main_cluster = false\n' "$mark" >"$no_cluster"
}

enabled() {
    find /etc/systemd/system /etc/systemd/user -path '*.wants/*' -type l 2>/dev/null || true
    find /etc/rc[2-5S].d -name 'S*' 2>/dev/null || true
}

# A disabled unit stays so when its package is upgraded: that is Debian's own rule for what an administrator disabled.
disable_new() {
    enabled | sort | comm -13 "$before" - | while read -r link; do
        [ -L "$link" ] || continue # one update-rc.d disables all run levels
        case $link in
        /etc/rc*) name=${link##*/S??} && update-rc.d "$name" disable ;;
        *) rm -f "$link" ;;
        esac
    done
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
}

apt() {
    HOWDAH_INSTALLING=yes $alone apt-get -q -y --no-install-recommends --no-upgrade -o DPkg::Lock::Timeout=300 -o Acquire::Retries=2 "$@" </dev/null 8>&-
}

# The second try is for lists that are too old and for a dpkg that was interrupted. An interrupt is heard until dpkg begins: a half
# configured package is worse than a wait of seconds.
add() {
    apt-cache show "$@" >/dev/null 2>&1 || apt update
    apt install --download-only "$@" || {
        HOWDAH_INSTALLING=yes dpkg --configure -a </dev/null 8>&-
        apt update
        apt install --download-only "$@"
    }
    trap '' INT HUP TERM
    alone='setsid --wait' # apt listens again to what it is told to ignore; a session of its own hears no Ctrl-C
    apt install "$@"
}

finish() {
    put_back
    disable_new
    rm -f "$before"
}

exec 8</var/lib/apt # two installations at once would take each other's files away; the lock dies with its holder
flock 8
alone=
made_directories=
put_back
[ -e "$before" ] || enabled | sort >"$before"
trap finish EXIT
trap 'exit 130' INT HUP TERM
forbid_starts
forbid_cluster
add "$@"
