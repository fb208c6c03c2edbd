#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The NVMe/TCP initiator against Linux's own target, in a QEMU guest (tcp_target is its process 1): verified I/O with and
# without digests, the target restarted, frozen and moved to its other port under load, and what it refuses.
#
# Usage: tests/nvme/tcp.sh [CHECK...]          Environment: BUILD, LOGS, see tests/lib.sh; QEMU_ACCEL, XDG_CACHE_HOME,
#     GUEST_KERNEL (linux-image-6.12-cloud-amd64, whose target can authenticate; empty: the distribution's own)
# Exit status: 0 all checks passed. About two minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib.sh
# Debian 12's own kernel, 6.1, has a target without authentication; its archive has a newer one as well.
if [[ ! ${GUEST_KERNEL+set} ]] && apt-cache show linux-image-6.12-cloud-amd64 >/dev/null 2>&1; then
	GUEST_KERNEL=linux-image-6.12-cloud-amd64
fi
. tests/guest/lib.sh

work=$(mktemp -d /tmp/braid-tcp.XXXXXX)
nqn=nqn.2014-08.org.example:kernel
bench=$BUILD/braid-bench
qemu_pid=
clean() {
	[[ ! $qemu_pid ]] || { kill -KILL "$qemu_pid" && wait "$qemu_pid"; } 2>/dev/null || :
	cp "$work/console" "$LOGS/tcp-console.log" 2>/dev/null || :
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# --- the guest --------------------------------------------------------------------------------------------------------

pack() {
	local files file
	mkdir -p "$work/pack/modules" && cp /bin/busybox "$work/pack" && cp tests/nvme/tcp_target "$work/pack/init" || return
	mapfile -t files < <(qemu_modules virtio_pci virtio_net brd nvmet nvmet-tcp)
	((${#files[@]} >= 4)) || { echo "the guest's kernel has no NVMe/TCP target"; return 1; }
	for file in "${files[@]}"; do
		cp "$file" "$work/pack/modules" || return
		case $file in
		*/brd.ko*) echo "${file##*/} rd_nr=3 rd_size=131072" ;;
		*) echo "${file##*/}" ;;
		esac
	done >"$work/pack/modules/order"
	(cd "$work/pack" && find . | cpio --quiet -o -H newc) >"$work/pack.cpio"
}

boot() {
	qemu_prepare && pack || return
	mkfifo "$work/serial"
	exec {serial}<>"$work/serial"
	port=$(free_port) other=$(free_port)
	# Without its tests: those of the large groups take an emulated kernel half a minute, when a key is set.
	qemu-system-x86_64 -machine q35 -accel "$(qemu_accel)" -cpu max -smp 1 -m 768M -nodefaults -display none -no-reboot \
		-kernel "$guest_cache/vmlinux" -initrd "$work/pack.cpio" \
		-append 'console=ttyS0 quiet panic=-1 cryptomgr.notests rdinit=/init' \
		-netdev "user,id=net,hostfwd=tcp:127.0.0.1:$port-:4420,hostfwd=tcp:127.0.0.1:$other-:4421" \
		-device virtio-net-pci,netdev=net -serial stdio <"$work/serial" >"$work/console" 2>&1 &
	qemu_pid=$!
	await 'done boot' 60
}

# await LINE [SECONDS]: until the guest has said it.
await() {
	local now
	for ((i = 0; i < 10 * ${2:-10}; i++)); do
		now=$(grep -c "^$1" "$work/console" || :)
		((now == 0)) || return 0
		kill -0 "$qemu_pid" 2>/dev/null || break
		sleep 0.1
	done
	echo "the guest does not say '$1'; its console:"
	tail -n 5 "$work/console"
	return 1
}

# tell COMMAND ARGUMENT...: and wait until it is done.
tell() {
	local before now i
	before=$(grep -cF "done $*" "$work/console" || :)
	echo "$*" >&"$serial"
	for ((i = 0; i < 150; i++)); do
		now=$(grep -cF "done $*" "$work/console" || :)
		((now == before)) || return 0
		! grep -qF "failed $*" "$work/console" || break
		sleep 0.1
	done
	echo "the guest did not do '$*':"
	tail -n 5 "$work/console"
	return 1
}

# --- checks -----------------------------------------------------------------------------------------------------------

# drive [OPTION...]: its address, with options.
drive() {
	local IFS='&'
	echo "nvme+tcp://127.0.0.1:$port/$nqn${1:+?$*}"
}

# load ADDRESS SECONDS [OPTION...]: reads and writes, all reads checked.
load() {
	"$bench" raw --drives "$1" --target members --pattern randrw --read-percent 50 --block-size 4K --depth 16 --span 32M \
		--verify mixed --flush-every 64 --time "$2" "${@:3}"
}

# under_load ADDRESS SECONDS COMMAND...: the command runs while the load does; neither may fail.
under_load() {
	local bench_pid
	load "$1" "$2" &
	bench_pid=$!
	sleep 3
	"${@:3}" || { kill "$bench_pid"; return 1; }
	kill -0 "$bench_pid" || { echo "the load had ended before"; return 1; }
	wait "$bench_pid"
}

restart() {
	for ((round = 0; round < 3; round++)); do
		tell down 4420 && sleep 1 && tell up 4420 && sleep 2 || return
	done
}

# Longer than the initiator waits for an answer.
freeze() {
	kill -STOP "$qemu_pid" && sleep 10
	kill -CONT "$qemu_pid" && sleep 2
}

fail_over() {
	tell down 4420 && sleep 3 && tell up 4420 && tell down 4421 && sleep 3 && tell up 4421
}

large() {
	"$bench" raw --drives "$(drive)" --target members --pattern write --block-size 1M --depth 4 --span 64M --bytes 64M \
		--verify fill &&
		"$bench" raw --drives "$(drive nsid=3 hdgst=1 ddgst=1)" --target members --pattern randrw --block-size 256K --depth 8 \
			--span 8M --time 4 --verify mixed
}

# refused SENTENCE ADDRESS
refused() {
	local said
	if said=$(load "$2" 1 2>&1); then
		echo "$2 was not refused"
		return 1
	fi
	echo "$said"
	[[ $said == *"$1"* ]]
}

refusals() {
	refused "there is no subsystem nqn.nobody" "nvme+tcp://127.0.0.1:$port/nqn.nobody" &&
		refused "there is no namespace 2 in $nqn" "$(drive nsid=2)" && refused 'it has 1, 3, 5' "$(drive nsid=9)" &&
		refused 'refuses connections' "nvme+tcp://127.0.0.1:1/$nqn"
}

# --- authentication ---------------------------------------------------------------------------------------------------

# Made of what 'nvme gen-dhchap-key' writes: plain, and to be transformed with SHA-256, 384 and 512.
keys=(DHHC-1:00:AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dyVhg6h:
	DHHC-1:01:BAsSGSAnLjU8Q0pRWF9mbXR7gomQl56lrLO6wcjP1t39By5T:
	DHHC-1:02:BQwTGiEoLzY9REtSWWBnbnV8g4qRmJ+mrbS7wsnQ197l7PP6AQgPFh0kKzI5QEdO0rntOQ==:
	DHHC-1:03:Bg0UGyIpMDc+RUxTWmFob3Z9hIuSmaCnrrW8w8rR2N/m7fT7AgkQFx4lLDM6QUhPVl1ka3J5gIeOlZyjqrG4vwO+xZg=:)

# locked [OPTION...]: the address of the drive that has to be unlocked. A target that is emulated on a busy machine may
# compute for longer than the usual keep alive.
locked() {
	local IFS='&'
	echo "nvme+tcp://127.0.0.1:$port/nqn.locked?hostnqn=nqn.host&keep-alive=120${1:+&$*}"
}

# One load for each hash and group, with another pair of keys each, one way and both ways.
dialogues() {
	local hash number=0 ours=$work/ours theirs=$work/theirs
	local groups=(null ffdhe2048 ffdhe3072 ffdhe4096 ffdhe6144 ffdhe8192)
	(umask 077 && : >"$ours" && : >"$theirs")
	for ((number = 0; number < 6; number++)); do
		hash=sha$((256 + 128 * (number % 3)))
		echo "${keys[number % 4]}" >"$ours"
		echo "${keys[(number + 1) % 4]}" >"$theirs"
		tell lock "${keys[number % 4]},${keys[(number + 1) % 4]},$hash,${groups[number]}" || return
		echo "$hash, ${groups[number]}"
		load "$(locked "dhchap-secret=$ours" "dhchap-controller-secret=$theirs")" 1 &&
			load "$(locked "dhchap-secret=$ours" hdgst=1 ddgst=1)" 1 || return
	done
}

unauthentic() {
	(umask 077 && echo "${keys[3]}" >"$work/ours" && echo "${keys[1]}" >"$work/theirs" && echo "${keys[0]}" >"$work/wrong")
	tell lock "${keys[3]},${keys[1]},sha256,ffdhe2048" || return
	refused 'demands authentication' "$(locked)" &&
		refused "does not accept the secret in $work/wrong" "$(locked "dhchap-secret=$work/wrong")" &&
		refused "does not know the secret in $work/wrong" \
			"$(locked "dhchap-secret=$work/ours" "dhchap-controller-secret=$work/wrong")"
}

# Through braid: neither the list of processes nor the log, the state or what is shown has the secret.
discreet() {
	local url status=0
	url=$(locked)
	engine_start "$work/run" || return
	if braid drive attach "$url" --dhchap-secret-file "$work/wrong" >"$work/said" 2>&1; then
		echo "it was attached with a wrong secret"
		status=1
	elif cat "$work/said"; ! grep -q 'does not accept the secret' "$work/said" || [[ $(braid drive list --attached -H) ]]; then
		status=1
	fi
	braid drive attach "$url" --dhchap-secret-file "$work/ours" --dhchap-controller-secret-file "$work/theirs" &&
		engine_stop && engine_restart && until_shown state live || return
	braid drive show "$(shown name)" -o wide >"$work/said" && braid drive list -o json >>"$work/said" || status=1
	ps -eo args >>"$work/said"
	! grep -rF "$(cut -d: -f3 "$work/ours")" "$work/said" "$work/run" || status=1
	! grep -rF "$(cut -d: -f3 "$work/theirs")" "$work/said" "$work/run" || status=1
	engine_stop || status=1
	return "$status"
}

# A target that knows no authentication cannot show anything of it: that is no check then, and counts as none.
authentication() {
	if tell lock "${keys[0]},${keys[1]},sha256,null" >/dev/null; then
		try tcp-authentication dialogues
		try tcp-unauthentic unauthentic
		try tcp-discreet discreet
	else
		echo "skip  tcp-authentication: this kernel's target knows none"
	fi
}

# --- what the target tells by itself ----------------------------------------------------------------------------------

# shown COLUMN: of the one drive that is attached.
shown() {
	braid drive list --attached -H --columns "$1"
}

# until_shown COLUMN PATTERN
until_shown() {
	local begun
	begun=$(date +%s%N)
	for ((i = 0; i < 1000; i++)); do
		# shellcheck disable=SC2053
		if [[ $(shown "$1") == $2 ]]; then
			echo "$1 is '$(shown "$1")' after $((($(date +%s%N) - begun) / 1000000)) ms"
			return 0
		fi
		sleep 0.02
	done
	echo "$1 is not like '$2': $(shown "$1")"
	return 1
}

# with_drive OPTION... -- CHECK: the check, while braidd has the drive.
with_drive() {
	local options=() status=0
	while [[ $1 != -- ]]; do
		options+=("$1")
		shift
	done
	engine_start "$work/run" && braid drive attach "$(drive "${options[@]}")" || status=1
	((status)) || "$2" || status=1
	engine_stop || status=1
	return "$status"
}

# A namespace that grows, shrinks and goes; the hold is no matter.
changes() {
	tell size 40 && until_shown why '*has grown from 33554432 to 41943040 bytes*' && until_shown state live &&
		tell size 16 && until_shown state away && until_shown why '*has shrunk from 33554432 to 16777216 bytes*' &&
		tell size 32 && until_shown state live &&
		tell show off && until_shown state away && until_shown why '*no namespace 5*' &&
		tell show on && until_shown state live && until_shown why -
}

# A path that becomes inaccessible, the way back, and from one that is not optimized to one that is.
ways() {
	until_shown path "127.0.0.1:$port" &&
		tell ana 4420 inaccessible && until_shown path "127.0.0.1:$other" && until_shown state live &&
		tell ana 4420 optimized && until_shown path "127.0.0.1:$port" && until_shown state live &&
		tell ana 4420 non-optimized && until_shown path "127.0.0.1:$other" && until_shown state live &&
		tell ana 4420 optimized && until_shown path "127.0.0.1:$port" &&
		tell down 4420 && until_shown path "127.0.0.1:$other" && until_shown state live &&
		tell up 4420 && until_shown path "127.0.0.1:$port" && until_shown state live
}

# The same without a look, with requests all the time.
change_ways() {
	local state
	for state in inaccessible optimized non-optimized optimized change optimized; do
		tell ana 4420 "$state" && sleep 2.5 || return
	done
}

# --- more of the target's doing ---------------------------------------------------------------------------------------

# Another namespace in its place is not written to.
impostor() {
	local bench_pid status=0
	load "$(drive hold=3)" 12 >"$work/impostor" 2>&1 &
	bench_pid=$!
	sleep 3
	tell down 4420 && tell stranger on && tell up 4420 || return
	wait "$bench_pid" || status=$?
	tell down 4420 && tell stranger off && tell up 4420 || return
	cat "$work/impostor"
	((status != 0)) && grep -qi 'no such device' "$work/impostor"
}

# The drive manager's part: attached by its URL, an array over it, remembered over a restart.
managed() {
	local status=0
	truncate -s 64M "$work/beside"
	engine_start "$work/run" || return
	managed_checks || status=1
	engine_stop || status=1
	return "$status"
}

managed_checks() {
	local url name
	url=$(drive hdgst=1) && braid drive attach "$url" "$work/beside" && braid drive list --attached -o wide || return
	name=$(braid drive list --attached -H --columns name,driver | awk '$2 == "nvme_tcp" || $2 == "nvme-tcp" { print $1 }')
	braid drive discover "127.0.0.1:$port" -o wide | grep -F "$nqn" || return
	[[ $name ]] && braid array create far --level 1 --drives "$name" beside --yes && braid vhost create far &&
		"$bench" vhost "$work/run/vhost/far.sock" --span 16M --verify fill --pattern write --block-size 128K --bytes 16M || return
	engine_stop && engine_restart && braid status far | grep 'state: OPTIMAL' &&
		"$bench" vhost "$work/run/vhost/far.sock" --span 16M --verify check --pattern read --block-size 64K --bytes 16M &&
		braid drive show "$name" | grep 'state: live' && ! braid drive attach "$url" && ! braid drive detach "$name" || return
	braid vhost delete far && braid array delete far --yes && braid drive detach "$name" beside
}

# --- all of them, or those that are named -----------------------------------------------------------------------------

checks=(verified digests large allocations restart freeze fail-over changes ways impostor refusals authentication managed)
check() {
	case $1 in
	verified) try tcp-verified load "$(drive)" 5 ;;
	digests) try tcp-digests load "$(drive hdgst=1 ddgst=1)" 5 ;;
	large) try tcp-large large ;;
	allocations) try tcp-allocations load "$(drive)" 3 --count-allocations ;;
	restart) try tcp-restart under_load "$(drive hdgst=1 ddgst=1)" 16 restart ;;
	freeze) try tcp-freeze under_load "$(drive)" 18 freeze ;;
	fail-over) try tcp-fail-over under_load "$(drive "path=127.0.0.1:$other")" 14 fail_over ;;
	changes) try tcp-changes with_drive nsid=5 hold=600 -- changes ;;
	ways)
		try tcp-ways with_drive "path=127.0.0.1:$other" failback=1 -- ways
		try tcp-ways-under-load under_load "$(drive "path=127.0.0.1:$other" failback=1)" 20 change_ways
		;;
	impostor) try tcp-impostor impostor ;;
	refusals) try tcp-refusals refusals ;;
	authentication) authentication ;;
	managed) try tcp-managed managed ;;
	*) echo "tests/nvme/tcp.sh: there is no check '$1'; there are: ${checks[*]}" >&2; return 2 ;;
	esac
}

(($# > 0)) || set -- "${checks[@]}"
try tcp-boot boot
for name in "$@"; do
	((failed > 0 && passed == 0)) || check "$name"
done
tally
