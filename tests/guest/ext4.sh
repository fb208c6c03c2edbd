#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs inside a guest: a file system's life on /dev/vda. Stages:
#     mkfs, write (half of the files), more (the other half, and a tenth of the first anew or deleted),
#     verify (mounted again with cold caches, every file's checksum), fsck.
# The host may fail drives at any stage, see GUEST_HOLD in guest.sh. Destroys the contents of the disk.
#
# Environment: GUEST_FILES (300), GUEST_TOTAL_MIB (150, about), GUEST_SEED (1, for the sizes; the contents are random).
# Results: sums, as md5sum writes them, what the files should be. Exit status: see guest.sh; a file system that needs repair is 3.
# shellcheck source=tests/guest/guest.sh
. "$(dirname "$0")/guest.sh"
: "${GUEST_FILES:=300}" "${GUEST_TOTAL_MIB:=150}"
disk=/run/disk
declare -A sums
RANDOM=${GUEST_SEED:-1}

# Reads lines of BYTES NAME and writes such files of random data. One process for all: starting one takes 20 ms and more
# in a guest. (Perl's core is in every Debian.)
write_random() {
	perl -e 'open(R, "<:raw", "/dev/urandom") or die;
		while (<STDIN>) {
			my ($bytes, $name) = split;
			read(R, my $data, $bytes) == $bytes or die "urandom: $!\n";
			open(F, ">:raw", $name) && print(F $data) && close(F) or die "cannot write $name: $!\n";
		}'
}

# Writes the files FIRST, FIRST + STEP, ... below LAST; file N is in directory N mod 8. Most are small, with odd sizes;
# every tenth is large and carries most of the volume. Checksums come from the page cache, still dirty, not from the
# disk.
write_files() {
	local i bytes sum name written=()
	for ((i = $1; i < $2; i += $3)); do
		bytes=$((RANDOM * RANDOM % 40000))
		((i % 10)) || bytes=$((bytes + GUEST_TOTAL_MIB * 10 * 1048576 / GUEST_FILES))
		name=$((i % 8))/$i
		written+=("$name")
		echo "$bytes $name"
	done > >(write_random)
	wait $! || die "$(disk_or 1)" "cannot write; see log"
	while read -r sum name; do
		sums[$name]=$sum
	done < <(md5sum "${written[@]}")
	sync -f . || die "$(disk_or 1)" "cannot sync"
}

mount_disk() {
	mount -t ext4 -o errors=remount-ro /dev/vda "$disk" || die "$(disk_or 3)" "cannot mount"
	cd "$disk" || die 1 "cannot enter $disk"
}

unmount_disk() {
	cd "$guest_work" || die 1 "cannot leave $disk"
	umount "$disk" || die "$(disk_or 1)" "cannot unmount"
}

stage mkfs
mkfs.ext4 -q -F /dev/vda || die "$(disk_or 1)" "mkfs.ext4 failed"
mkdir "$disk"
mount_disk
mkdir {0..7}

half=$((GUEST_FILES / 2))
stage write
write_files 0 $half 1

stage more
write_files $half "$GUEST_FILES" 1
write_files 0 $half 20
for ((i = 7; i < half; i += 20)); do
	rm "$((i % 8))/$i"
	unset "sums[$((i % 8))/$i]"
done

stage verify
unmount_disk
echo 3 >/proc/sys/vm/drop_caches
mount_disk
for name in "${!sums[@]}"; do
	echo "${sums[$name]}  $name"
done >"$guest_work/sums"
md5sum --check --quiet "$guest_work/sums" || die "$(disk_or 3)" "$(grep -c FAILED "$guest_work/log") files differ; see log"
[[ $(find {0..7} -type f | wc -l) == "${#sums[@]}" ]] || die 3 "files appeared or are missing"
unmount_disk

stage fsck
e2fsck -fn /dev/vda || die "$(disk_or 3)" "e2fsck found errors; see log"
[[ $(disk_or 0) == 0 ]] || die 2 "the kernel reported I/O errors: $(dmesg | grep -m 1 'I/O error')"
echo "${#sums[@]} files are well"
