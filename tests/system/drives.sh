#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What may become a drive: a host made of files (BRAID_HOST_ROOT) whose NVMe drives are used in every way that there is,
# files with the signatures of other software, and what braid drive says of them. No NVMe drive is needed; those that
# are taken are in tests/nvme.
#
# Usage: tests/system/drives.sh          Environment: BUILD
# Exit status: 0 all checks passed. The last line counts them.
set -u
. tests/lib.sh

dir=$(mktemp -d /tmp/braid-drives.XXXXXX)
host=$dir/host
engine_pid=
export BRAID_HOST_ROOT=$host
clean() {
	[[ ! $engine_pid ]] || kill -KILL "$engine_pid" 2>/dev/null || :
	rm -rf "$dir"
}
trap clean EXIT
trap 'exit 130' INT TERM

put() {
	mkdir -p "$host${1%/*}" && printf '%s\n' "$2" >"$host$1"
}

# nvme N: drive nvmeNn1 with serial number SN at 0000:0N:00.0, in IOMMU group N, with a file of 16 MiB behind /dev.
nvme() {
	local n=$1 pci=/sys/bus/pci/devices/0000:0$1:00.0
	put "$pci/class" 0x010802
	put "$pci/numa_node" 0
	put "$pci/current_link_speed" '16.0 GT/s PCIe' && put "$pci/current_link_width" 4
	mkdir -p "$host/sys/bus/pci/drivers/nvme" "$host/sys/kernel/iommu_groups/$n/devices/0000:0$n:00.0"
	ln -s ../../../../bus/pci/drivers/nvme "$host$pci/driver"
	ln -s "../../../../kernel/iommu_groups/$n" "$host$pci/iommu_group"
	put "/sys/class/nvme/nvme$n/serial" "S$n"
	put "/sys/class/nvme/nvme$n/model" "Model $((n % 2))"
	put "/sys/class/nvme/nvme$n/firmware_rev" F1
	put "/sys/class/nvme/nvme$n/transport" pcie
	put "/sys/class/nvme/nvme$n/address" "0000:0$n:00.0"
	put "/sys/class/block/nvme${n}n1/size" 32768
	put "/sys/class/block/nvme${n}n1/nsid" 1
	put "/sys/class/block/nvme${n}n1/queue/logical_block_size" 4096
	ln -s "../../nvme/nvme$n" "$host/sys/class/block/nvme${n}n1/device"
	mkdir -p "$host/sys/dev/block" "$host/dev"
	ln -s "../../class/block/nvme${n}n1" "$host/sys/dev/block/259:$n"
	truncate -s 16M "$host/dev/nvme${n}n1"
}

make_host() {
	for n in 1 2 3 4 5 6 7 8; do nvme $n || return; done
	mkdir -p "$host/proc/1"
	printf '20 1 259:2 / / rw - ext4 /dev/nvme2n1 rw\n' >"$host/proc/1/mountinfo"
	printf 'Filename Type\n/dev/nvme3n1 partition 8 0 -2\n' >"$host/proc/swaps"
	put /sys/class/block/nvme4n1/nvme4n1p1/partition 1 && mkdir -p "$host/sys/class/block/nvme4n1p1/holders/dm-0"
	put /sys/class/block/dm-0/dm/name vg-lv && put /sys/class/block/dm-0/dm/uuid LVM-x
	mkdir -p "$host/sys/class/block/nvme5n1/holders/md0"
	mke2fs -q -t ext4 -L old "$host/dev/nvme6n1"
	# 7 is in the group of another device.
	put /sys/bus/pci/devices/0000:70:00.0/class 0x020000
	mkdir -p "$host/sys/kernel/iommu_groups/7/devices/0000:70:00.0"
}

# The sentence, the exit status, and nothing changed.
refused() {
	local status=$1 pattern=$2 got=0
	shift 2
	find "$host" -printf '%p %l %s %T@\n' | sort >"$dir/before"
	braid "$@" >"$dir/out" 2>"$dir/err" || got=$?
	cat "$dir/out" "$dir/err"
	find "$host" -printf '%p %l %s %T@\n' | sort >"$dir/after"
	((got == status)) || { echo "exit status $got, not $status"; return 1; }
	grep -Eq "$pattern" "$dir/err" && (($(wc -l <"$dir/err") == 1)) || { echo "no /$pattern/ in one line"; return 1; }
	diff "$dir/before" "$dir/after" || { echo "the host was changed"; return 1; }
	[[ $(braid drive list --attached -H) == '' ]]
}

says() {
	local pattern=$1
	shift
	braid "$@" >"$dir/out" 2>&1 || { cat "$dir/out"; return 1; }
	cat "$dir/out"
	grep -Eq "$pattern" "$dir/out"
}

listed() {
	says '^nvme1n1 +nvme +16 MiB +4096 +- +not attached +Model 1 +S1 +0000:01:00.0' drive list &&
		says 'the system, mounted on /' drive list && says '^nvme3n1 .*swap' drive list &&
		says '^nvme4n1 .*LVM, volume vg-lv' drive list && says '^nvme5n1 .*md array md0' drive list &&
		says '^nvme6n1 .*ext4 file system "old"' drive list &&
		says '^nvme7n1 .*shares IOMMU group 7 with 0000:70:00.0 +in use' drive list && says '16.0 GT/s PCIe x4' drive list -o wide &&
		says 'Model 0' drive show S2 && says 'link: 16.0' drive show 0000:02:00.0
}

in_use() {
	refused 4 'S2 is in use: the system, mounted on /' drive attach S2 &&
		refused 4 'mounted on /' drive attach 0000:02:00.0 && refused 4 'mounted on /' drive attach /dev/nvme2n1 &&
		refused 4 'swap' drive attach S3 && refused 4 'LVM, volume vg-lv' drive attach 04:00.0n1 &&
		refused 4 'md array md0' drive attach S5 && refused 4 'md array' drive attach S5 --wipe-signatures --yes &&
		refused 4 'shares IOMMU group 7 with 0000:70:00.0' drive attach S7
}

# A signature is an obstacle that --wipe-signatures removes; what comes after it is that there is no VFIO here.
signatures() {
	refused 5 'ext4 file system "old".*--wipe-signatures' drive attach S6 &&
		refused 5 'ext4 file system' drive attach 0000:06:00.0
}

unknown() {
	refused 3 "no drive with the serial number 'S99'" drive attach S99 &&
		refused 3 'no PCI device 0000:99:00.0' drive attach 99:00.0 &&
		refused 2 'PCI device 0000:70:00.0 is no NVMe drive: its class is 020000' drive attach 0000:70:00.0 &&
		refused 3 "no free NVMe drive has a model like 'Nope\*'" drive attach '--model=Nope*' &&
		refused 1 'refuses connections' drive discover 127.0.0.1:1 && refused 2 'write HOST or' drive discover /x || return
	rm "$host/sys/bus/pci/devices/0000:01:00.0/iommu_group"
	refused 3 'IOMMU is off.*braid doctor' drive attach S1 || return
	ln -s ../../../../kernel/iommu_groups/1 "$host/sys/bus/pci/devices/0000:01:00.0/iommu_group"
}

# Which drives the globs mean, without taking them.
globs() {
	says '"source": ?"0000:01:00.0"' drive attach '--model=Model 1' -n && ! grep -E '0000:0(3|5|7):' "$dir/out" || return
	says '0000:01:00.0' drive attach --all-free -n && [[ $(grep -c 'would call' "$dir/out") == 2 ]]
}

# Files get the same questions.
files() {
	truncate -s 64M "$dir"/f{0,1,2}
	mke2fs -q -t ext4 -L keep "$dir/f0" && mkswap "$dir/f1" >/dev/null || return
	refused 5 'f0 holds what is not braid.s, ext4 file system "keep"' drive attach "$dir/f0" && refused 5 'swap space' drive attach "$dir/f1" || return
	put /sys/class/block/loop3/loop/backing_file "$dir/f2"
	refused 4 'f2 is in use: the loop device loop3' drive attach "$dir/f2" || return
	rm -r "$host/sys/class/block/loop3"
	refused 5 'needs --yes' drive attach "$dir/f0" --wipe-signatures || return
	says '^f0 ' drive attach "$dir/f0" --wipe-signatures --yes && braid drive detach f0 || return
	! blkid -p "$dir/f0" && says '^f0 ' drive attach "$dir/f0" "$dir/f2" && braid drive detach f0 f2
}

# A member of an array, and one that once was, are not foreign; what is written on them later is.
members() {
	truncate -s 64M "$dir"/m{0,1,2}
	says '^m0' drive attach "$dir"/m{0,1,2} && braid array create m --level 5 --drives m0 m1 m2 --yes || return
	engine_stop && engine_restart && says 'array m' drive list || return
	# Somebody has made a file system on one meanwhile: it is no member any more, whatever its superblock says.
	engine_stop && mkdir "$dir/kept" && cp --sparse=always "$dir/m2" "$dir/kept" && mke2fs -q -t ext4 -F "$dir/m2" && engine_restart --assemble-wait 0 &&
		says 'm2 holds what is not braid.s, ext4' drive show m2 && engine_stop && mv "$dir/kept/m2" "$dir/m2" && engine_restart &&
		braid status m || return
	braid array readd m m2 && braid job wait && says OPTIMAL status m || return
	braid array delete m --yes && braid drive detach m0 m1 m2 && says '^m0' drive attach "$dir"/m{0,1,2} || return
	engine_stop && mke2fs -q -t ext4 -F "$dir/m1" && engine_restart && says '^m1 .*absent' drive list &&
		says 'm1 holds what is not braid.s, ext4' drive show m1 && braid drive detach m0 m1 m2
}

care() {
	braid drive attach ram:r0:64M || return
	braid drive smart r0 2>&1 | grep -E 'driver ram: only NVMe' && braid drive log r0 error 2>&1 | grep 'only NVMe' &&
		braid drive format r0 --yes 2>&1 | grep 'only NVMe' && braid drive sanitize r0 --how block --yes 2>&1 | grep 'only NVMe' &&
		braid drive self-test r0 2>&1 | grep 'only NVMe' && braid drive firmware r0 2>&1 | grep 'only NVMe' &&
		braid drive firmware r0 --file /dev/null --slot 2 --yes 2>&1 | grep 'only NVMe' &&
		braid drive firmware r0 --file /dev/null 2>&1 | grep 'say which slot' && braid drive locate r0 2>&1 | grep 'knows no light' &&
		braid drive log r0 nope 2>&1 | grep 'is no log page' && braid drive smart nope 2>&1 | grep "no drive 'nope'" &&
		braid drive detach r0
}

# The doctor's verdict is its exit status.
doctor() {
	local status=0
	mkdir -p "$host/sys/bus/pci/drivers/vfio-pci" "$host/dev/vfio" && : >"$host/dev/vfio/vfio"
	braid doctor >"$dir/out" || status=$?
	cat "$dir/out"
	((status == 1)) && grep -E '^missing +drives +S7 .*shares IOMMU group 7' "$dir/out" || return
	mv "$host/sys/kernel/iommu_groups/7/devices/0000:70:00.0" "$dir/away" && says '^ok +IOMMU +on' doctor || return
	mv "$dir/away" "$host/sys/kernel/iommu_groups/7/devices/0000:70:00.0"
	rm -r "$host/sys/bus/pci/drivers/vfio-pci"
	braid doctor -o json | jq -e '.findings[] | select(.check == "vfio-pci") | .verdict == "missing"'
}

# vfio-pci, to which the drive is given, is a folder here: it never arrives, and is given back.
half_bound() {
	local status=0 pci=$host/sys/bus/pci/devices/0000:01:00.0
	mkdir -p "$host/sys/bus/pci/drivers/vfio-pci" && : >"$host/sys/bus/pci/drivers_probe"
	: >"$pci/driver_override" && : >"$host/sys/bus/pci/drivers/nvme/unbind" && : >"$host/sys/bus/pci/drivers/nvme/bind"
	braid drive attach S1 >"$dir/out" 2>&1 || status=$?
	cat "$dir/out" "$pci/driver_override" "$host/sys/bus/pci/drivers/nvme/unbind" "$host/sys/bus/pci/drivers_probe"
	((status != 0)) && (($(wc -l <"$dir/out") == 1)) && [[ $(readlink "$pci/driver") == *drivers/nvme ]] &&
		[[ ! $(tr -d '\n' <"$pci/driver_override") && $(braid drive list --attached -H) == '' ]]
}

try host make_host
try start engine_start "$dir/run"
for check in listed in_use signatures unknown globs files members care doctor half_bound; do
	try "drives-$check" "$check"
done
try stop engine_stop
tally
