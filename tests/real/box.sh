#!/bin/bash
# A small machine of its own for one test: namespaces, a disk in memory over this one's, and systemd as its first process; it may be rebooted.
# Called by tests/real/test_boot.py with a directory, how often to boot, and the directories that lie on other file systems.
set -e
box=$1 boots=$2
shift 2
mount -t tmpfs -o size=2g tmpfs "$box"
mkdir -p "$box/up" "$box/work" "$box/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$box/up,workdir=$box/work" "$box/root"
root=$box/root
for directory in "$@"; do
    mkdir -p "$root$directory"
    mount --bind "$directory" "$root$directory"
done
rm -f "$root"/etc/systemd/system/*.wants/* # nothing of this machine's own is started there
mkdir -p "$root/var/log/journal"
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
for ((boot = 1; boot <= boots; boot++)); do
    unshare --mount --pid --fork --net --ipc --uts --cgroup bash -ec '
        root=$1
        mount -t proc proc "$root/proc"
        mount -t tmpfs tmpfs "$root/run"
        mount --rbind /sys "$root/sys"
        mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
        mkdir "$root/sys/fs/cgroup/unified" "$root/sys/fs/cgroup/systemd"
        if mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd" 2>/dev/null; then
            mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
        else
            umount "$root/sys/fs/cgroup"
            mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
        fi
        mount --rbind /dev "$root/dev"
        ip link set lo up
        exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" \
            /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal --show-status=no
    ' box "$root" || true
    echo "ended $boot"
done
