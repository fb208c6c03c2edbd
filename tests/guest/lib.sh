# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Boots small Linux guests with vhost-user-blk disks, for tests and for ./demo. Source this file; it changes nothing.
#
#     uml_boot  WORKDIR SCRIPT SOCKET...   User-Mode Linux: 2 s, one CPU, one queue, no reconnect, no root needed
#     qemu_boot WORKDIR SCRIPT SOCKET...   QEMU as in the article: queues, PCI, reconnect; 5-10 s emulated; needs root
#
# Both boot a guest with one disk per SOCKET (/dev/vda, /dev/vdb, ...), run the host's SCRIPT in it with WORKDIR as its
# working directory, and return its exit status, or 124: the time ran out, 125: the guest broke down. Put them into the
# background for several guests at once, each with its own WORKDIR. The guest sees the host's files read-only; WORKDIR
# (a fresh one for each guest; SCRIPT and it without blanks, SCRIPT not below /dev or /run) is writable and live on both
# sides: log, error (one sentence), stage, results; see init and guest.sh. Every shell variable named GUEST_* reaches
# the script. Not for interactive shells.
#
#     guest_await WORKDIR STAGE            wait until the script has announced STAGE; false if it ends before
#     guest_release WORKDIR STAGE          let it go on, if GUEST_HOLD names STAGE
#     guest_stop WORKDIR                   kill the guest at once, whatever it does; harmless when it is gone
#     qemu_prepare                         fetch the kernel now rather than in the first qemu_boot
#
# Environment: GUEST_MEM (512M), GUEST_TIMEOUT_S (120, the whole life of a guest), GUEST_STALL_S (15, requests in flight
# and none ends), GUEST_CORES (cores for the guest, as for taskset -c), GUEST_SHM (/dev/shm: memory of UML).
# QEMU only: QEMU_ACCEL (kvm where it works, else tcg), GUEST_CPUS (1), GUEST_QUEUES (GUEST_CPUS; empty: not said),
# GUEST_MEMORY (memory-backend-memfd; or memory-backend-file,mem-path=/dev/hugepages), GUEST_DEVICE (more properties of
# vhost-user-blk-pci, such as packed=on), GUEST_APPEND (more kernel command line), XDG_CACHE_HOME, GUEST_KERNEL (the
# package of another kernel, before this file is sourced). Its monitor (QMP) listens on WORKDIR/qmp.

guest_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
guest_kernel=${GUEST_KERNEL:-linux-image-cloud-amd64}
guest_cache=${XDG_CACHE_HOME:-/var/cache}/braid-testbed${GUEST_KERNEL:+/$GUEST_KERNEL}

guest_say() { echo "guest: $*" >&2; }

# Makes $work absolute and fit for a new guest. Takes WORKDIR SCRIPT SOCKET...
guest_clean() {
	mkdir -p "$1" && work=$(cd "$1" && pwd -P) && script=$(realpath -e "$2") && disks=$(($# - 2)) || return
	[[ $work$script != *' '* ]] || { guest_say "no blanks, please, in $work and $script"; return 1; }
	rm -rf "$work/.uml"
	rm -f "$work"/{ended,status,status.new,error,log,console,stage,pids,qmp,fs.socket,release.*}
	: >"$work/log"
	for name in "${!GUEST_@}"; do
		printf '%s=%q\n' "$name" "${!name}"
	done >"$work/guest.env"
}

# Starts a command, $guest_pid, as the leader of a session, so that killing its process group kills all that it has
# started, even if we are gone when the time is up. (User-Mode Linux makes itself one, so timeout(1) would not do, and
# without its disk it does not end on SIGTERM but panics for ever.)
guest_spawn() {
	setsid ${GUEST_CORES:+taskset -c "$GUEST_CORES"} "$@" </dev/null >>"$work/console" 2>&1 &
	guest_pid=$!
	# shellcheck disable=SC2016
	setsid bash -c 'sleep "$1"; kill -KILL -- "-$2"' - "${GUEST_TIMEOUT_S:-120}" "$guest_pid" </dev/null >/dev/null 2>&1 &
	echo "$guest_pid $!" >>"$work/pids"
	disown "$guest_pid" $! # or bash reports the death of a guest that was killed
}

# Waits for the guest spawned last and returns its script's status. One that has written it may take 3 s to power off.
guest_wait() {
	local begun=$SECONDS grace=0 status
	while kill -0 "$guest_pid" 2>/dev/null && ((grace < 30)); do
		[[ ! -e $work/status ]] || ((++grace))
		sleep 0.1
	done
	guest_stop "$work"
	: >"$work/ended"
	if read -r status 2>/dev/null <"$work/status"; then
		((status == 0)) || guest_say "$(basename "$script") ended with $status:" \
			"$(cat "$work/error" 2>/dev/null || tail -n 1 "$work/log")"
		return "$status"
	elif ((SECONDS - begun + 1 >= ${GUEST_TIMEOUT_S:-120})); then
		guest_say "killed after ${GUEST_TIMEOUT_S:-120} s in $(guest_where); see $work/log and $work/console"
		return 124
	fi
	guest_say "broke down in $(guest_where); see $work/console: $(tail -n 1 "$work/console")"
	return 125
}

guest_where() { cat "$work/stage" 2>/dev/null || echo boot; }

guest_stop() {
	local guest watchdog
	[[ -e $1/pids ]] || return 0
	while read -r guest watchdog; do
		kill -KILL -- "-$guest" "-$watchdog" 2>/dev/null || :
	done <"$1/pids"
	rm -f "$1"/{pids,qmp,fs.socket}
}

guest_await() {
	local tries=0
	until grep -qsx "stage $2" "$1/log"; do
		[[ ! -e $1/ended ]] || return 1
		((++tries < 10 * ${GUEST_TIMEOUT_S:-120})) || return 1
		sleep 0.1
	done
}

guest_release() { : >"$1/release.$2"; }

uml_boot() {
	local work script disks name guest_pid devices=()
	guest_clean "$@" || return 125
	for name in "${@:3}"; do
		devices+=("virtio_uml.device=$name:2")
	done
	TMPDIR=${GUEST_SHM:-/dev/shm} guest_spawn linux.uml mem="${GUEST_MEM:-512M}" rootfstype=hostfs root=/dev/root ro \
		init="$guest_dir/init" "${devices[@]}" con=null con0=null,fd:1 panic=-1 quiet uml_dir="$work/.uml" umid=guest \
		GUEST_WORK="$work" GUEST_SCRIPT="$script" GUEST_DISKS="$disks"
	guest_wait
}

qemu_boot() {
	local work script disks name guest_pid accel cpus=${GUEST_CPUS:-1} mem=${GUEST_MEM:-512M} i=0 devices=()
	local queues=${GUEST_QUEUES-$cpus}
	guest_clean "$@" && qemu_prepare && accel=$(qemu_accel) || return 125
	for name in "${@:3}"; do
		devices+=(-chardev "socket,id=char$((++i)),path=$name,reconnect=1"
			-device "vhost-user-blk-pci,id=blk$i,chardev=char$i,queue-size=256${queues:+,num-queues=$queues}${GUEST_DEVICE:+,$GUEST_DEVICE}")
	done
	# The host's root for the guest; ends when QEMU does. Cached for ever: it does not change, and new files are seen.
	guest_spawn /usr/lib/qemu/virtiofsd --socket-path="$work/fs.socket" -o source=/ -o sandbox=chroot -o cache=always
	for ((i = 0; i < 50; i++)); do
		[[ ! -S $work/fs.socket ]] || break
		sleep 0.1
	done
	guest_spawn qemu-system-x86_64 -machine q35 -accel "$accel" -cpu max -smp "$cpus" -m "$mem" \
		-nodefaults -display none -no-reboot -serial stdio -qmp "unix:$work/qmp,server=on,wait=off" \
		-kernel "$guest_cache/vmlinux" -initrd "$guest_cache/initramfs" \
		-object "${GUEST_MEMORY:-memory-backend-memfd},id=mem,size=$mem,share=on" -numa node,memdev=mem \
		-chardev "socket,id=fs,path=$work/fs.socket" -device vhost-user-fs-pci,chardev=fs,tag=host \
		"${devices[@]}" -append "console=ttyS0 quiet panic=-1 ${GUEST_APPEND:-} \
			GUEST_INIT=$guest_dir/init GUEST_WORK=$work GUEST_SCRIPT=$script GUEST_DISKS=$disks"
	guest_wait
}

# KVM is believed only when it has run a guest: /dev/kvm may exist and not be able to.
qemu_accel() {
	local boot
	[[ -z ${QEMU_ACCEL:-} ]] || { echo "$QEMU_ACCEL"; return; }
	boot=$guest_cache/accel.$(</proc/sys/kernel/random/boot_id)
	if [[ ! -s $boot ]]; then
		rm -f "$guest_cache"/accel.*
		if [[ -w /dev/kvm ]] && timeout -k 1 15 qemu-system-x86_64 -machine q35 -accel kvm -cpu max -m 128M \
			-nodefaults -display none -no-reboot -kernel "$guest_cache/vmlinux" \
			-initrd "$guest_cache/initramfs" -append 'quiet panic=-1' </dev/null >/dev/null 2>&1; then
			echo kvm >"$boot"
		else
			echo tcg,thread=multi >"$boot"
		fi
	fi
	cat "$boot"
}

# Fetches the kernel (never installs it) and packs an initramfs that only mounts the host's root. Once per machine. The
# kernel's modules stay in $guest_cache/lib/modules/RELEASE: qemu_modules lists those that others need.
qemu_prepare() {
	[[ ! -e $guest_cache/initramfs || ! -d $guest_cache/lib/modules ]] || return 0
	mkdir -p "$guest_cache" || return
	(
		set -e
		flock 9
		[[ ! -e $guest_cache/initramfs || ! -d $guest_cache/lib/modules ]] || exit 0
		cd "$(mktemp -d "$guest_cache/new.XXXXXX")"
		trap 'rm -rf "$PWD"' EXIT
		qemu_fetch_kernel
		depmod -b . "$(ls lib/modules)"
		rm -rf "${guest_cache:?}/lib"
		mv lib "$guest_cache"
		qemu_pack_initramfs
		mv vmlinux initramfs "$guest_cache"
	) 9>"$guest_cache/lock" || { guest_say "no kernel for QEMU; see $guest_cache/fetch.log"; return 1; }
}

qemu_fetch_kernel() {
	local image begin
	package() { apt-cache depends "$guest_kernel" 2>/dev/null | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p'; }
	{
		apt-get download "$(package)" || { apt-get update && apt-get download "$(package)"; }
		dpkg -x linux-image-*.deb .
		find lib/modules -name '*.ko.xz' -exec xz -d {} +
	} >"$guest_cache/fetch.log" 2>&1
	# The bzImage's own header says where in it the compressed kernel is. (Documentation/arch/x86/boot.rst)
	image=$(echo boot/vmlinuz-*)
	field() { od -An -t "u$2" -j "$1" -N "$2" "$image" | tr -d ' '; }
	begin=$((($(field 0x1f1 1) + 1) * 512 + $(field 0x248 4)))
	# A frame of zstd's says so itself; the newer kernels are one.
	unpack() { if (($(field $begin 4) == 0xfd2fb528)); then zstd -dc; else lz4 -dc; fi; }
	tail -c "+$((begin + 1))" "$image" | head -c "$(($(field 0x24c 4) - 4))" | unpack >vmlinux
}

# The files of these modules and of what they need, in the order in which they have to be loaded.
qemu_modules() {
	local release
	release=$(ls "$guest_cache/lib/modules") || return
	modprobe -d "$guest_cache" -S "$release" -a --show-depends "$@" | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++'
}

qemu_pack_initramfs() {
	local modules
	mapfile -t modules < <(qemu_modules virtio_pci virtio_blk virtiofs)
	mkdir -p pack/root pack/proc
	cp -t pack /bin/busybox "${modules[@]}"
	# shellcheck disable=SC2016
	{
		echo '#!/busybox sh'
		printf '/busybox insmod /%s\n' "${modules[@]##*/}"
		echo '[ "$GUEST_INIT" ] || exec /busybox poweroff -f # only a test of the accelerator'
		echo '/busybox mount -t virtiofs host /root && exec /busybox switch_root /root "$GUEST_INIT"'
	} >pack/init
	chmod +x pack/init
	(cd pack && find . | cpio --quiet -o -H newc) >initramfs
}
