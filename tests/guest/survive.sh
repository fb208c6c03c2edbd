#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs inside a guest: fio writes a file on a file system on /dev/vda and reads it back, verified, again and again while
# the host kills the disk's back end. Stages:
#     mkfs, load (passes of random writes and their verification, until the host releases `load`), verify, fsck.
# Destroys the contents of the disk.
#
# Environment: GUEST_SPAN_MIB (48, of the file), GUEST_DEPTH (16).
# Results: pause_ms, the longest that a request took from the guest's point of view; passes. Exit status: see guest.sh.
# shellcheck source=tests/guest/guest.sh
. "$(dirname "$0")/guest.sh"
: "${GUEST_SPAN_MIB:=48}" "${GUEST_DEPTH:=16}"
disk=/run/disk
passes=0 pause_ns=0

# One job; a pass has its own seed, which its verification has to know.
run() {
	fio --name=survive --directory="$disk" --size="${GUEST_SPAN_MIB}m" --bs=4k --rw=randwrite --randseed="$1" \
		--ioengine=io_uring --direct=1 --iodepth="$GUEST_DEPTH" --verify=crc32c --verify_fatal=1 \
		--output-format=json --output=fio.json "${@:2}" 2>fio.log || judge
}

judge() {
	grep -qa 'Input/output error' fio.log && die 2 "I/O error: $(grep -m 1 -a error fio.log)"
	grep -qa 'verify' fio.log && die 3 "data differ: $(grep -m 1 -a verify fio.log)"
	die "$(disk_or 1)" "fio failed: $(tail -n 1 fio.log)"
}

# fio's latencies include the queue that the guest keeps itself, so a pause may show a little longer than it was.
note_pause() {
	local ns
	ns=$(sed -n '/^{/,$p' fio.json | jq '[.jobs[] | .read.lat_ns.max, .write.lat_ns.max] | max')
	((ns <= pause_ns)) || pause_ns=$ns
	echo $((pause_ns / 1000000)) >pause_ms
	echo "pass $passes: longest request $((ns / 1000000)) ms"
}

stage mkfs
mkfs.ext4 -q -F /dev/vda || die "$(disk_or 1)" "mkfs.ext4 failed"
mkdir "$disk"
mount -t ext4 -o errors=remount-ro /dev/vda "$disk" || die "$(disk_or 3)" "cannot mount"

stage load
while [[ ! -e release.load ]] || ((passes == 0)); do
	run $((++passes))
	note_pause
done
echo "$passes" >passes

stage verify
run "$passes" --verify_only
umount "$disk" || die "$(disk_or 1)" "cannot unmount"

stage fsck
e2fsck -fn /dev/vda || die "$(disk_or 3)" "e2fsck found errors; see log"
if dmesg | grep -E 'I/O error|EXT4-fs (error|warning)|blk_update_request|virtio_blk.*(timeout|reset)'; then
	die 2 "the kernel reported errors; see log"
fi
echo "survived: $passes passes, longest request $((pause_ns / 1000000)) ms"
