#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs inside a guest: the article's four fio jobs on /dev/vda, scaled to this machine, with every write verified. Stages:
#     fill, seqwrite, seqread, randwrite (which reads back what it wrote), randread, verify (all of it).
# Destroys the contents of the disk.
#
# Environment: GUEST_SPAN_MIB (256: how much of the disk is used), GUEST_RUNTIME_S (3: each timed job),
# GUEST_RANDOM_MIB (GUEST_SPAN_MIB: how much randwrite writes; may be more), GUEST_DEPTH (32), GUEST_JOBS (1),
# GUEST_HIPRI (0; 1 needs virtio_blk.poll_queues), GUEST_VERIFY (crc32c; 0: no verification, for speed),
# GUEST_STAGES (some of the stages, in order).
# Results: STAGE.json, fio's own; progress, fio's line about the running job; fio.log. Exit status: see guest.sh.
# shellcheck source=tests/guest/guest.sh
. "$(dirname "$0")/guest.sh"
jobs=$(dirname "$0")/jobs

disk_mib=$(($(</sys/block/vda/size) / 2048))
export GUEST_SPAN_MIB=${GUEST_SPAN_MIB:-256} GUEST_RUNTIME_S=${GUEST_RUNTIME_S:-3} GUEST_DEPTH=${GUEST_DEPTH:-32}
export GUEST_JOBS=${GUEST_JOBS:-1} GUEST_HIPRI=${GUEST_HIPRI:-0} GUEST_VERIFY=${GUEST_VERIFY:-crc32c}
((GUEST_SPAN_MIB < disk_mib)) || GUEST_SPAN_MIB=$disk_mib
export SHARE_MIB=$((GUEST_SPAN_MIB / GUEST_JOBS))
export RANDOM_SHARE_MIB=$((${GUEST_RANDOM_MIB:-$GUEST_SPAN_MIB} / GUEST_JOBS))
((SHARE_MIB > 0 && RANDOM_SHARE_MIB > 0)) || die 1 "less than 1 MiB of the disk for each of $GUEST_JOBS jobs"

# fio's error numbers: EILSEQ (84) is a block that differs, EIO (5) and ENOSPC (28) come from the disk.
judge() {
	local errno
	errno=$(sed -n '/^{/,$p' "$1.json" | jq '[.jobs[].error] | max' 2>/dev/null) || errno=0
	# An error of a write that is verified later does not always reach the job's own error.
	((${errno:-0} > 0)) || ! grep -qa 'Input/output error' fio.log || errno=5
	case $errno in
	84) die 3 "$1: data differ: $(grep -m 1 -a verify fio.log)" ;;
	5 | 28) die 2 "$1: I/O error: $(grep -m 1 -a 'error' fio.log)" ;;
	*) die 1 "$1: fio failed: $(tail -n 1 fio.log)" ;;
	esac
}

run() {
	stage "$1"
	fio "$jobs/$1.fio" --output-format=json --output="$1.json" --eta=always --eta-newline=1 >progress 2>fio.log ||
		judge "$1"
}

for name in ${GUEST_STAGES:-fill seqwrite seqread randwrite randread verify}; do
	[[ $name != verify || $GUEST_VERIFY != 0 ]] || continue
	run "$name"
done
