# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# A machine with NVMe drives behind an IOMMU, emulated. Source this file after tests/guest/lib.sh; it changes nothing.
#
#     machine_boot WORKDIR PROGRAM...    packs the programs with their libraries, this folder and tests/lib.sh into an
#                                        initramfs, boots it, and leaves $machine_pid; its init runs inside.sh
#     machine_line                       the next line of the script inside into $line; false when there is none
#     machine_do REQUEST                 what the script inside asks of its host: see below
#     machine_stop                       ends it at once; harmless when it is gone
#
# Drives, by serial number (all but GROUP1 have a PCI Express port of their own, so they can be unplugged):
#
#     SER0 - SER9    96 MiB; 4096-byte blocks, SER8 and SER9 512-byte ones; SER4 has sectors that cannot be read; SER6 and
#                    SER7 have one I/O queue
#     MANY           three namespaces: 32 MiB of 4096-byte blocks, 32 MiB of 512-byte ones, 48 MiB of 4096-byte ones
#     HELD, SIGN     32 MiB, 512-byte blocks: for a mounted file system, and for one that nobody has mounted
#     GROUP0, GROUP1 32 MiB: two functions of one device, hence in one IOMMU group
#
# Files in WORKDIR: console (the kernel's messages), log (all that the script inside wrote), qmp.log.
# Environment: MACHINE_MEM (1536M), MACHINE_CPUS (2), QEMU_ACCEL (see tests/guest/lib.sh).

machine_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
machine_modules=(vfio-pci vfio_iommu_type1)
# SER4: one 4096-byte block in each of these MiB gives a media error when it is read first; written anew, it is good.
machine_bad_first_mib=26 machine_bad_mib=6

machine_pack() {
	local pack=$1 program library file
	shift
	rm -rf "$pack" && mkdir -p "$pack"/{bin,proc,sys,dev,run,tmp,mnt,nvme,modules,var/lib,lib64} || return
	cp /bin/busybox "$pack/bin" && cp "$machine_dir"/*.sh "$machine_dir/init" "$machine_dir/../lib.sh" "$pack/nvme" || return
	for program in /bin/bash "$@"; do
		cp "$program" "$pack/bin" || return
		[[ ${MACHINE_PROGRAMS:-} ]] || strip "$pack/bin/${program##*/}" # unstripped for a debugger
		ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
			[[ -e $pack$library ]] || install -D "$(realpath "$library")" "$pack$library"
		done
	done
	qemu_modules "${machine_modules[@]}" >"$pack/modules/order" || return
	while read -r file; do
		cp "$file" "$pack/modules"
	done <"$pack/modules/order"
	(cd "$pack" && find . | cpio --quiet -o -H newc) >"$pack.cpio"
}

# A drive on its own port: SERIAL MIB BLOCK_BYTES [LAYER: a driver's options in front of the file].
machine_drive() {
	local serial=$1 mib=$2 block=$3 layer=${4:-}
	truncate -s "${mib}M" "$machine_work/$serial.img"
	machine_number=$((machine_number + 1))
	machine_options+=(
		-drive "if=none,id=$serial,format=raw,cache=unsafe,discard=unmap,${layer:+$layer,file.image.filename=$machine_work/$serial.img}${layer:-file=$machine_work/$serial.img}"
		-device "pcie-root-port,id=port-$serial,chassis=$machine_number,slot=$machine_number,bus=pcie.0"
		-device "$(machine_device "$serial" "$block")")
}

# SERIAL BLOCK_BYTES [PORT OF ANOTHER].
machine_device() {
	local serial=$1 block=$2 port=${3:-$1} queues=
	[[ $serial != SER[67] ]] || queues=,max_ioqpairs=1
	echo "nvme,id=$serial,serial=$serial,drive=$serial,bus=port-$port,logical_block_size=$block,physical_block_size=$block$queues"
}

# A controller with namespaces 1, 2, ...: SERIAL MIB:BLOCK_BYTES...
machine_namespaces() {
	local serial=$1 number=0 namespace
	shift
	machine_number=$((machine_number + 1))
	machine_options+=(
		-device "pcie-root-port,id=port-$serial,chassis=$machine_number,slot=$machine_number,bus=pcie.0"
		-device "nvme,id=$serial,serial=$serial,bus=port-$serial")
	for namespace; do
		number=$((number + 1))
		truncate -s "${namespace%:*}M" "$machine_work/$serial-$number.img"
		machine_options+=(
			-drive "if=none,id=$serial-$number,format=raw,cache=unsafe,discard=unmap,file=$machine_work/$serial-$number.img"
			-device "nvme-ns,drive=$serial-$number,bus=$serial,nsid=$number,logical_block_size=${namespace#*:},physical_block_size=${namespace#*:}")
	done
}

machine_drives() {
	local i bad=driver=blkdebug sector
	truncate -s 96M "$machine_work/SER4.img"
	for ((i = 0; i < 10; i++)); do
		((i == 4)) || machine_drive "SER$i" 96 $((i < 8 ? 4096 : 512))
	done
	# blkdebug: every rule is one sector.
	for ((i = 0; i < machine_bad_mib; i++)); do
		sector=$(((machine_bad_first_mib + i) * 2048 + 8 * (i * 7)))
		bad+=",inject-error.$i.event=none,inject-error.$i.iotype=read,inject-error.$i.errno=5,inject-error.$i.once=on,inject-error.$i.sector=$sector"
	done
	machine_number=$((machine_number + 1))
	machine_options+=(
		-blockdev "driver=file,node-name=SER4-file,filename=$machine_work/SER4.img,discard=unmap"
		-blockdev "$bad,node-name=SER4,image=SER4-file,discard=unmap"
		-device "pcie-root-port,id=port-SER4,chassis=$machine_number,slot=$machine_number,bus=pcie.0"
		-device "$(machine_device SER4 4096)")
	machine_namespaces MANY 32:4096 32:512 48:4096
	machine_drive HELD 32 512
	machine_drive SIGN 32 512
	truncate -s 32M "$machine_work"/GROUP{0,1}.img
	machine_number=$((machine_number + 1))
	machine_options+=(
		-device "pcie-root-port,id=port-GROUP,chassis=$machine_number,slot=$machine_number,bus=pcie.0"
		-drive "if=none,id=GROUP0,format=raw,file=$machine_work/GROUP0.img"
		-drive "if=none,id=GROUP1,format=raw,file=$machine_work/GROUP1.img"
		-device nvme,id=GROUP0,serial=GROUP0,drive=GROUP0,bus=port-GROUP,addr=0.0,multifunction=on
		-device nvme,id=GROUP1,serial=GROUP1,drive=GROUP1,bus=port-GROUP,addr=0.1)
}

machine_boot() {
	machine_work=$1 machine_options=() machine_number=0 machine_part=
	shift
	local accel
	qemu_prepare && accel=$(qemu_accel) && machine_pack "$machine_work/pack" "$@" || return
	machine_drives
	mkfifo "$machine_work"/{serial,qmp}.{in,out} || return
	# Held open from here, so that nobody waits for the other end.
	exec {machine_in}<>"$machine_work/serial.in" {machine_out}<>"$machine_work/serial.out" \
		{machine_qmp_in}<>"$machine_work/qmp.in" {machine_qmp_out}<>"$machine_work/qmp.out"
	qemu-system-x86_64 -machine q35,kernel-irqchip=split -accel "$accel" -cpu max -smp "${MACHINE_CPUS:-2}" \
		-m "${MACHINE_MEM:-1536M}" -nodefaults -display none -no-reboot \
		-device intel-iommu,intremap=on \
		-chardev "pipe,id=serial,path=$machine_work/serial" -serial chardev:serial -serial "file:$machine_work/console" \
		-chardev "pipe,id=qmp,path=$machine_work/qmp" -mon chardev=qmp,mode=control \
		-kernel "$guest_cache/vmlinux" -initrd "$machine_work/pack.cpio" \
		-append "console=ttyS1 loglevel=6 panic=-1 intel_iommu=on rdinit=/nvme/init ${MACHINE_APPEND:-}" \
		"${machine_options[@]}" </dev/null >"$machine_work/qemu" 2>&1 &
	machine_pid=$!
	machine_qmp '{"execute":"qmp_capabilities"}'
}

# What has come of a line when the time is up is kept for the next call.
machine_line() {
	local wait=${1:-5}
	IFS= read -r -t "$wait" -u "$machine_out" line || { machine_part+=$line; return 1; }
	line=$machine_part${line%$'\r'}
	machine_part=
	printf '%s\n' "$line" >>"$machine_work/log"
}

# One command, one answer; events between them go to qmp.log only.
machine_qmp() {
	local answer
	echo "> $1" >>"$machine_work/qmp.log"
	echo "$1" >&"$machine_qmp_in"
	while IFS= read -r -t 20 -u "$machine_qmp_out" answer; do
		echo "< $answer" >>"$machine_work/qmp.log"
		[[ $answer != *'"return"'* ]] || return 0
		[[ $answer != *'"error"'* ]] || { echo "qmp: $1: $answer" >&2; return 1; }
	done
	return 1
}

# unplug SERIAL; plug SERIAL BLOCK_BYTES [PORT OF ANOTHER]. The answer is one line, ok or failed, on the serial line.
machine_do() {
	local what=$1 serial=${2:-} block=${3:-4096} port=${4:-} answer=ok option pairs=
	case $what in
	unplug) machine_qmp "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"$serial\"}}" || answer=failed ;;
	plug)
		# device_add wants an object: driver, then key=value
		local IFS=,
		for option in $(machine_device "$serial" "$block" $port); do
			[[ $option != *=* ]] || pairs+=",\"${option%%=*}\":$(machine_value "${option#*=}")"
		done
		machine_qmp "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"nvme\"$pairs}}" || answer=failed
		;;
	*) answer=failed ;;
	esac
	echo "$answer" >&"$machine_in"
}

machine_value() {
	if [[ $1 =~ ^[0-9]+$ ]]; then echo "$1"; else echo "\"$1\""; fi
}

machine_stop() {
	[[ ! ${machine_pid:-} ]] || { kill -KILL "$machine_pid" 2>/dev/null; wait "$machine_pid" 2>/dev/null; } || :
	machine_pid=
}
