#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs inside a guest: what the guest sees of /dev/vda, one name=value per line, and whether discard, write-zeroes and
# flush do what they say on the first 8 MiB, which it overwrites. Bits it does not know are printed as numbers.
# Results: identify, the lines. Exit status: see guest.sh; zeros that are not zeros or neighbours touched are 3.
# shellcheck source=tests/guest/guest.sh
. "$(dirname "$0")/guest.sh"
sys=/sys/block/vda
mib=1048576

# Feature bits by number. (Virtual I/O Device 1.2, sections 5.2.3 and 6)
names=([1]=size_max [2]=seg_max [4]=geometry [5]=ro [6]=blk_size [9]=flush [10]=topology [11]=config_wce [12]=mq
	[13]=discard [14]=write_zeroes [15]=lifetime [16]=secure_erase [24]=notify_on_empty [27]=any_layout
	[28]=indirect_desc [29]=event_idx [30]=protocol_features [32]=version_1 [33]=access_platform [34]=ring_packed
	[35]=in_order [36]=order_platform [38]=notification_data [40]=ring_reset)

features() {
	local bits i list=()
	bits=$(<$sys/device/features)
	for ((i = 0; i < ${#bits}; i++)); do
		[[ ${bits:i:1} == 0 ]] || list+=("${names[i]:-$i}")
	done
	echo "${list[*]}"
}

queue() { cat "$sys/queue/$1"; }

describe() {
	echo "size_bytes=$(($(<$sys/size) * 512))"
	echo "logical_block_size=$(queue logical_block_size)"
	echo "physical_block_size=$(queue physical_block_size)"
	echo "io_min=$(queue minimum_io_size)"
	echo "io_opt=$(queue optimal_io_size)"
	echo "max_segments=$(queue max_segments)"
	echo "max_segment_size=$(queue max_segment_size)"
	echo "max_sectors_kb=$(queue max_sectors_kb)"
	echo "discard_max_sectors=$(($(queue discard_max_hw_bytes) / 512))"
	echo "discard_granularity=$(queue discard_granularity)"
	echo "discard_max_segments=$(queue max_discard_segments)"
	echo "write_zeroes_max_sectors=$(($(queue write_zeroes_max_bytes) / 512))"
	echo "queues=$(find $sys/mq -mindepth 1 -maxdepth 1 | wc -l)"
	echo "polled=$(queue io_poll)"
	echo "write_cache=$(queue write_cache)"
	echo "read_only=$(<$sys/ro)"
	echo "serial=$(<$sys/serial)"
	echo "features=$(features)"
}

# Offsets and lengths in MiB.
fill() { dd if=/dev/urandom of=/dev/vda bs=1M seek="$1" count="$2" oflag=direct conv=fsync status=none || die 2 "cannot write"; }
read_disk() { dd if=/dev/vda bs=1M skip="$1" count="$2" iflag=direct status=none || die 2 "cannot read"; }
is_zero() { read_disk "$1" "$2" | cmp -s -n "$(($2 * mib))" - /dev/zero; }

# Runs a command that is to zero MiB 2-5 between data it must leave alone.
check() {
	local name=$1 before after
	shift
	fill 0 8
	before=$({ read_disk 0 2; read_disk 6 2; } | sha256sum)
	"$@" -o $((2 * mib)) -l $((4 * mib)) /dev/vda || die 2 "$name failed"
	after=$({ read_disk 0 2; read_disk 6 2; } | sha256sum)
	[[ $before == "$after" ]] || die 3 "$name changed data beside its range"
	if is_zero 2 4; then
		echo "$name=zeros"
	else
		[[ $name == discard ]] || die 3 "$name left data that are not zeros"
		echo "$name=data" # allowed: the contents after a discard are unspecified
	fi
}

flushes() { awk '{ print $16 }' $sys/stat; }

check_flush() {
	local before
	before=$(flushes)
	fill 0 1
	before=$(($(flushes) - before))
	echo "flushes=$before"
	[[ $(queue write_cache) != 'write back' ]] || ((before > 0)) || die 1 "a write-back disk was not flushed by fsync"
}

stage identify
{
	describe
	if (($(<$sys/ro) == 0)); then
		(($(queue discard_max_hw_bytes) == 0)) || check discard blkdiscard
		check zeroout blkdiscard -z
		check fallocate_zero fallocate -z
		check_flush
	fi
} | tee identify
[[ $(disk_or 0) == 0 ]] || die 2 "the kernel reported I/O errors: $(dmesg | grep -m 1 'I/O error')"
