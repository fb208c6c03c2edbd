#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs in the emulated machine (machine.sh) as its only program: braid on NVMe drives through VFIO. One line per check
# on the serial line, as tests/lib.sh prints them; "@do ..." asks the host for something; "@end" and the counts are last.
#
# On the kernel's command line: MACHINE_FORM=short: less load, and not what only waits; MACHINE_ONLY=attach,array,io: these
# checks and no others.
set -u
export BUILD=/bin LOGS=/run/logs
# shellcheck source=tests/lib.sh
. /nvme/lib.sh
exec 8</dev/ttyS0 9>/dev/ttyS0
short=
[[ ${MACHINE_FORM:-} != short ]] || short=1
socket=/run/braid/vhost/m.sock

ask() {
	local answer=
	echo "@do $*" >&9
	read -r -t 30 answer <&8
	[[ $answer == ok ]]
}

# within SECONDS COMMAND...: until it succeeds.
within() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < end)) || { echo "not within time: $*"; return 1; }
		sleep 0.3
	done
}

says() {
	local pattern=$1
	shift
	"$@" >/run/out 2>&1 || { cat /run/out; echo "failed: $*"; return 1; }
	grep -Eq -- "$pattern" /run/out || { cat /run/out; echo "no /$pattern/ in: $*"; return 1; }
}

drivers() { ls -l /sys/bus/pci/devices/*/driver; }

# The exit status, one sentence that matches, and every device as it was.
refused() {
	local status=$1 pattern=$2 got=0
	shift 2
	drivers >/run/before
	"$@" >/run/out 2>&1 || got=$?
	drivers >/run/after
	cat /run/out
	((got == status)) || { echo "exit status $got, not $status: $*"; return 1; }
	grep -Eq -- "$pattern" /run/out && (($(wc -l </run/out) == 1)) || { echo "no single /$pattern/"; return 1; }
	cmp /run/before /run/after
}

address_of() { cat "$(dirname "$(grep -l "^$1 *$" /sys/class/nvme/*/serial)")/address"; }
disk_of() { basename "$(ls -d "$(dirname "$(grep -l "^$1 *$" /sys/class/nvme/*/serial)")"/nvme*n1)"; }
kernel_drives() { ls -d /sys/class/nvme/nvme* 2>/dev/null | wc -l; }

load() { braid-bench vhost "$socket" --depth 16 --core 1 "$@"; }
array_is() { says "state: $1" braid status m; }

# Two places: one below the bad sectors of SER4, one around them.
fill() {
	load --span 48M --verify fill --pattern write --block-size 512K --bytes 48M &&
		load --offset 160M --span 96M --verify fill --pattern write --block-size 1M --bytes 96M
}

check_all() {
	load --span 48M --verify check --pattern read --block-size 256K --bytes 48M
}

mixed() { load --span 48M --verify mixed --pattern randrw --block-size 16K --time "$1"; }

# A daemon that does not end is no reason to wait for ever.
stop() {
	(sleep 30 && kill -KILL "$engine_pid") 2>/dev/null &
	engine_stop
}

# --- before anything is attached --------------------------------------------------------------------------------

prepare() {
	mke2fs -q -t ext4 "/dev/$(disk_of HELD)" && mke2fs -q -t ext4 -L sign "/dev/$(disk_of SIGN)" &&
		mount -t ext4 "/dev/$(disk_of HELD)" /mnt && (($(kernel_drives) == 15))
}

# One list, looked at from all sides: a command takes long here.
listed() {
	local i
	braid drive list | tee /run/list
	for ((i = 0; i < 10; i++)); do
		grep -E "^nvme[0-9]+n1 +nvme +96 MiB +(4096|512) +- +not attached +QEMU NVMe Ctrl +SER$i +0000:0" /run/list || return
	done
	grep 'mounted on /mnt  *in use .*HELD' /run/list && grep 'ext4 file system "sign"  *in use .*SIGN' /run/list &&
		grep 'shares IOMMU group .*GROUP0' /run/list && says 'link: .*GT/s' braid drive show SER0
}

doctor() {
	says '^ok +IOMMU' bash -c 'braid doctor; (($? == 1))' && grep -E '^ok +vfio-pci' /run/out &&
		grep -E 'GROUP0 .*shares IOMMU group' /run/out
}

refusals() {
	refused 4 'in use: mounted on /mnt' braid drive attach HELD && refused 4 'mounted' braid drive attach "/dev/$(disk_of HELD)" &&
		refused 4 'mounted' braid drive attach "$(address_of HELD)" --wipe-signatures --yes &&
		refused 5 'ext4 file system "sign"' braid drive attach SIGN && refused 4 'shares IOMMU group' braid drive attach GROUP0 &&
		refused 2 'is no NVMe drive: its class is 010601' braid drive attach 0000:00:1f.2 &&
		refused 3 'no PCI device 0000:77:00.0' braid drive attach 77:00.0 && refused 3 "serial number 'SER99'" braid drive attach SER99
}

# A daemon that is not root has no right to take a drive from its driver.
not_root() {
	local status=0 user
	mkdir -p /run/user && chown 65534 /run/user
	setpriv --reuid 65534 --regid 65534 --clear-groups braidd --run-dir /run/user --state-dir /run/user/state --cores 0 \
		>/run/user/log 2>&1 &
	user=$!
	within 10 test -S /run/user/rpc.sock || { cat /run/user/log; return 1; }
	refused 5 'root|permission|right' braid --socket /run/user/rpc.sock drive attach SER0 || status=1
	kill "$user"
	wait "$user"
	return "$status"
}

# One that is root, but may lock next to no memory: a drive that cannot reach our buffers is given back.
memlock() {
	local status=0 low
	mkdir -p /run/low
	(ulimit -l 64 && exec setpriv --bounding-set -ipc_lock braidd --run-dir /run/low --state-dir /run/low/state --cores 0) \
		>/run/low/log 2>&1 &
	low=$!
	within 10 test -S /run/low/rpc.sock || { cat /run/low/log; return 1; }
	refused 1 'may lock .* LimitMEMLOCK=infinity' braid --socket /run/low/rpc.sock drive attach SER0 || status=1
	(($(braid --socket /run/low/rpc.sock drive list --attached -H 2>/dev/null | wc -l) == 0)) || status=1
	kill "$low"
	wait "$low"
	return "$status"
}

# --- the driver itself ------------------------------------------------------------------------------------------

# Memory in pieces that PRPs do not cover: SGLs, which QEMU's drives take.
scatter() { says 'right, each one command' nvme_scatter "$(address_of SER8)" && within 5 disk_of SER8; }

# Three drives of one controller, on the same queues, of different formats and sizes; an array over them survives a restart.
namespaces() {
	local socket=/run/braid/vhost/n.sock
	says '^MANYn3 +nvme +48 MiB +4096' braid drive attach MANY && grep -E '^MANYn1 +nvme +32 MiB +4096' /run/out &&
		grep -E '^MANYn2 +nvme +32 MiB +4096' /run/out && refused 4 'attached already' braid drive attach MANY || return
	says 'lba: 512' braid drive show MANYn2 && says 'lba: 4096' braid drive show MANYn3 &&
		braid array create n --level 5 --chunk 64K --drives MANYn{1..3} --yes && braid vhost create n &&
		load --verify fill --pattern write --block-size 512K --span 40M --bytes 40M &&
		load --verify mixed --pattern randrw --block-size 16K --span 40M --time 2 || return
	engine_stop && engine_restart && within 20 says 'state: OPTIMAL' braid status n &&
		load --verify check --pattern read --block-size 256K --span 40M --bytes 40M || return
	braid vhost delete n && braid array delete n --yes && braid drive detach MANYn1 MANYn3 && (($(kernel_drives) == 14)) &&
		braid drive detach MANYn2 && within 10 eval '(($(ls -d /sys/class/nvme/*/nvme*n[123] | wc -l) == 17))'
}

# --- the array --------------------------------------------------------------------------------------------------

attach() {
	local one two
	one=$(address_of SER1) two=$(disk_of SER2)
	says '^SER0 +nvme +96 MiB +4096' braid drive attach SER0 && says '^SER1 ' braid drive attach "$one" &&
		says '^SER2 ' braid drive attach "/dev/$two" && says 'would call' braid drive attach '--model=QEMU NVMe*' -n || return
	says '^SER9 +nvme +96 MiB +4096' braid drive attach --all-free && braid drive detach MANYn{1..3} || return
	braid drive list
	(($(braid drive list --attached -H | grep -c ' *nvme') == 10 && $(kernel_drives) == 5)) &&
		refused 4 'attached already' braid drive attach SER0
}

signature_wiped() {
	says '^SIGN' braid drive attach SIGN --wipe-signatures --yes && says '1 drive detached' braid drive detach SIGN &&
		within 5 disk_of SIGN && ! braid drive show SIGN | grep ext4
}

array() {
	braid array create m --level 6 --chunk 64K --drives SER{0..9} --yes && braid vhost create m && array_is OPTIMAL
}

io() {
	fill && check_all && mixed $((short ? 2 : 5)) && check_all && array_is OPTIMAL
}

care() {
	says 'celsius: [0-9]+' braid drive smart SER0 && says 'media errors: 0' braid drive smart SER0 &&
		braid drive log SER0 error && says '^000000 ' braid drive log SER0 health --hex && says 'celsius: [0-9]+' braid drive log SER0 health &&
		says '^ *1 +1\.0 +yes' braid drive log SER0 firmware && says '^ *1 +1\.0 +yes' braid drive firmware SER0 &&
		refused 1 'cannot sanitize itself: braid drive format' braid drive sanitize SER0 --how block --yes &&
		refused 1 'has no self-test' braid drive self-test SER0 && refused 1 'takes no firmware' braid drive firmware SER0 --slot 1 --yes && says 'celsius' braid drive show SER8 &&
		refused 4 'in use by array m' braid drive format SER0 --yes && refused 4 'in use by array m' braid drive detach SER0 &&
		refused 1 'knows no light' braid drive locate SER0
}

errors_of() {
	braid rpc array.show '{"name": "m"}' | tr -d ' \n' | grep -o "\"drive\":\"$1\"[^}]*" | grep -o "\"read_errors\":[0-9]*" | grep -o '[0-9]*$'
}

# Sectors that cannot be read: right data, counted, written anew, and the drive stays.
media_errors() {
	local errors
	load --offset 160M --span 96M --verify check --pattern read --block-size 64K --bytes 96M || return
	errors=$(errors_of SER4)
	echo "read errors of SER4: $errors"
	((errors > 0)) && array_is OPTIMAL
}

absent() { braid drive list --attached | grep -Eq "^$1 .*absent"; }
present() { ! absent "$1" && braid drive list --attached | grep -q "^$1 "; }

# The request to let go comes from the host while the array works; the drive comes back, and is re-added.
unplugged() {
	local job
	mixed 12 >/run/load 2>&1 &
	job=$!
	sleep 2
	ask unplug SER3 && within 20 absent SER3 && array_is DEGRADED || { cat /run/load; return 1; }
	echo "absent after $SECONDS s"
	wait "$job" || { cat /run/load; return 1; }
	ask plug SER3 4096 && within 40 present SER3 || return
	within 5 braid array readd m SER3 && braid job wait && array_is OPTIMAL && check_all
}

# A drive whose registers do not answer any more, and which completes nothing: it is reset and serves again; requests
# wait meanwhile, and none fails.
resets() {
	local job address
	address=$(address_of_drive SER6)
	mixed 20 >/run/load 2>&1 &
	job=$!
	sleep 2
	printf '\0\0' | dd of="/sys/bus/pci/devices/$address/config" bs=1 seek=4 conv=notrunc 2>/dev/null
	within 30 grep 'event=DriveReset serial=SER6' /run/braid/braidd.log || return
	wait "$job" || { cat /run/load; return 1; }
	cat /run/load
	array_is OPTIMAL && check_all
}

# Its slot loses power: nothing is asked, it is gone.
pulled() {
	local job address slot
	address=$(address_of_drive SER1)
	slot=$(dirname "$(grep -l "^${address%.*}\$" /sys/bus/pci/slots/*/address)")
	mixed 25 >/run/load 2>&1 &
	job=$!
	sleep 2
	echo 0 >"$slot/power" &
	within 40 absent SER1 && array_is DEGRADED || return
	wait "$job" || { cat /run/load; return 1; }
	cat /run/load
	within 100 test ! -e "/sys/bus/pci/devices/$address" || return
	ask plug SER1 4096 && within 40 present SER1 && braid array readd m SER1 && braid job wait && array_is OPTIMAL && check_all
}

address_of_drive() { braid drive show "$1" | sed -n 's/^ *address: //p'; }

all_there() { (($(braid drive list --attached | grep -c ' live ') == 10)); }

restart() {
	engine_stop && engine_restart && within 20 array_is OPTIMAL && all_there && check_all
}

killed() {
	kill -KILL "$engine_pid"
	wait "$engine_pid"
	engine_restart && within 30 array_is OPTIMAL && all_there && check_all
}

# SER6 and SER7 have one queue: with two cores one sends its requests through the other. Unless that one is killed the daemon
# goes on with two.
few_queues() {
	engine_stop && ENGINE_CORES=0,1 engine_restart && within 30 array_is OPTIMAL && all_there || return
	(($(grep -c 'event=nvme.queues .* queues=1 cores=2' /run/braid/braidd.log) == 2)) && mixed $((short ? 2 : 5)) && check_all &&
		array_is OPTIMAL
}

# Two drives change places while the daemon is away.
moved() {
	engine_stop && ask unplug SER5 && ask unplug SER2 && sleep 3 && ask plug SER5 4096 SER2 && ask plug SER2 4096 SER5 || return
	within 10 disk_of SER5 && within 10 disk_of SER2 && engine_restart && within 40 array_is OPTIMAL && all_there && check_all
}

# --- and back ---------------------------------------------------------------------------------------------------

detach() {
	braid vhost delete m && braid array delete m --yes && braid drive detach SER{0..9} && within 10 eval '(($(kernel_drives) == 15))' &&
		dd if="/dev/$(disk_of SER0)" of=/dev/null bs=64k count=64 && says 'not attached' braid drive show SER0
}

format() {
	braid drive attach SER9 && says 'lba: 512' braid drive show SER9 && refused 5 'needs --yes' braid drive format SER9 &&
		refused 2 'no format with blocks of 8192' braid drive format SER9 --lba 8192 --yes &&
		says 'SER9 formatted' braid drive format SER9 --lba 4096 --yes && says 'lba: 4096' braid drive show SER9 &&
		braid drive detach SER9 && within 10 eval 'grep -qx 4096 "/sys/class/block/$(disk_of SER9)/queue/logical_block_size"'
}

mount_intact() { umount /mnt && mount -t ext4 "/dev/$(disk_of HELD)" /mnt && umount /mnt; }

no_faults() {
	dmesg | grep -E 'DMAR|IOMMU' | tail -n 20
	! dmesg | grep -E 'DMAR:.*(fault|DRHD: handling|Request device)' && ! dmesg | grep -E 'BUG:|Oops|WARNING:'
}

try prepare prepare
try start engine_start /run/braid
checks=(listed doctor refusals not_root memlock scatter namespaces attach signature_wiped array io care media_errors unplugged restart)
[[ $short ]] || checks+=(killed moved)
checks+=(few_queues)
[[ $short ]] || checks+=(resets pulled)
checks+=(detach format)
[[ ! ${MACHINE_ONLY:-} ]] || IFS=, read -r -a checks <<<"$MACHINE_ONLY"
for check in "${checks[@]}"; do
	try "$check" "$check"
done
try stop stop
try mount_intact mount_intact
try no_faults no_faults
((failed == 0)) || tail -n 60 /run/braid/braidd.log
tally
echo "@end"
echo o >/proc/sysrq-trigger
sleep 20
