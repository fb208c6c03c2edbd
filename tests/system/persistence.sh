#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What outlives a daemon: arrays, volumes, controllers and data over file drives, through restarts, SIGKILL, drives
# that move, vanish, come back, are copied, damaged or belong to others; spares, replace, scrub and jobs.
#
# Usage: BUILD=build tests/system/persistence.sh [CASE...]     Without a name: all cases.
# Exit status: 0 all checks passed.
set -u

BUILD=${BUILD:-build}
dir=$(mktemp -d /tmp/braid-persistence.XXXXXX)
files=$dir/files
daemon=
passed=0 failed=0

clean() {
	[[ ! $daemon ]] || kill -KILL "$daemon" 2>/dev/null
	wait 2>/dev/null
	rm -rf "$dir"
}
trap clean EXIT
trap 'exit 130' INT TERM

# --- helpers ----------------------------------------------------------------------------------------------------

export BRAID_SOCKET=$dir/run/rpc.sock
braid() { "$BUILD/braid" "$@" </dev/null; }
state_of() { braid rpc array.show "{\"name\": \"$1\"}" 2>/dev/null | jq -r .array.state; }

# start [OPTION...]: the daemon answers, or this fails.
start() {
	local i
	"$BUILD/braidd" --run-dir "$dir/run" --state-dir "$dir/state" --cores 0 --assemble-wait 1 "$@" >>"$dir/log" 2>&1 &
	daemon=$!
	for ((i = 0; i < 200; i++)); do
		braid rpc version.get >/dev/null 2>&1 && return
		kill -0 "$daemon" 2>/dev/null || break
		sleep 0.02
	done
	echo "braidd did not start: $(tail -n 2 "$dir/log")"
	return 1
}

stop() {
	local pid=$daemon
	daemon=
	kill "$pid" && wait "$pid"
}

kill9() {
	kill -KILL "$daemon"
	wait "$daemon" 2>/dev/null
	daemon=
}

# A new life: nothing of the case before is left.
fresh() {
	[[ ! $daemon ]] || kill9
	rm -rf "$files" "$dir/state" "$dir/away" "$dir/run"
	mkdir -p "$files" "$dir/away"
	: >"$dir/log"
}

# within SECONDS COMMAND...: it becomes true in time.
within() {
	local end=$((SECONDS + $1 + 1))
	shift
	until "$@"; do
		((SECONDS < end)) || { echo "not in time: $*"; return 1; }
		sleep 0.05
	done
}

array_is() { [[ $(state_of "$1") == "$2" ]]; }
idle() { braid rpc job.list | jq -e 'all(.jobs[]; .state != "running" and .state != "paused")' >/dev/null; }
healed() { array_is "$1" optimal && idle; }

# says PATTERN COMMAND...: it succeeds and says so. refuses PATTERN COMMAND...: it fails with one sentence that says so.
says() {
	local pattern=$1 text
	shift
	text=$("$@" 2>&1) || { echo "failed: $* -> $text"; return 1; }
	grep -Eq -- "$pattern" <<<"$text" || { echo "no /$pattern/ in: $text"; return 1; }
}
refuses() {
	local pattern=$1 text
	shift
	text=$("$@" 2>&1) && { echo "not refused: $* -> $text"; return 1; }
	[[ $(wc -l <<<"$text") == 1 ]] || { echo "more than one line: $text"; return 1; }
	grep -Eq -- "$pattern" <<<"$text" || { echo "no /$pattern/ in: $text"; return 1; }
}
logged() { grep -Eq -- "$1" "$dir/log" || { echo "not in the log: $1"; return 1; }; }

load() { "$BUILD/braid-bench" vhost "$dir/run/vhost/$1.sock" --span 48M --depth 16 "${@:2}" >"$dir/load" 2>&1 || { cat "$dir/load"; return 1; }; }
fill() { load "$1" --verify fill --pattern write --block-size 256K --bytes 48M; }
verify() { load "$1" --verify check --pattern read --block-size 256K --bytes 48M; }
overwrite() { load "$1" --verify mixed --pattern randrw --block-size 16K --time 1; }

# What must be the same afterwards, without what counts or moves.
picture() {
	braid rpc status.get | jq -S '{
		arrays: [.arrays[] | {name, uuid, level, state, bytes, chunk_bytes, consistency, volumes}],
		volumes, exports: [.exports[] | {name, volume, array, socket, cores, read_only, running, bytes}]}'
}

# media6: six drives m0 to m5, two volumes, the first filled.
media6() {
	fresh
	truncate -s 64M "$files"/m{0..5}
	start && braid drive attach "$files"/m{0..5} >/dev/null &&
		braid array create media6 --level 6 --chunk 64K --drives m{0..5} --yes "$@" >/dev/null &&
		braid volume split media6 --count 2 >/dev/null && braid vhost create media6p0 >/dev/null &&
		braid vhost create media6p1 --name second --read-only --path "$dir/second.sock" >/dev/null && fill media6p0
}

# data_offset FILE: where the data area begins.
data_offset() { "$BUILD/braid" array examine "$1" --json | jq '.members[0].layout.data.offset'; }

# --- restart ----------------------------------------------------------------------------------------------------

restart() {
	media6 && picture >"$dir/before" && stop && [[ ! -e $dir/run/vhost/media6p0.sock ]] || return
	start && picture >"$dir/after" && diff "$dir/before" "$dir/after" && verify media6p0 || return
	kill9 && start && picture >"$dir/after" && diff "$dir/before" "$dir/after" && within 10 idle && verify media6p0 || return
	braid volume delete media6p1 --yes 2>&1 | grep -q 'second' || { echo "a volume in use was deleted"; return 1; }
	braid vhost delete second >/dev/null && picture >"$dir/before" && kill9 && start && picture >"$dir/after" &&
		diff "$dir/before" "$dir/after" || return
	braid volume delete media6p1 --yes >/dev/null && braid volume create media6/x --size 1M >/dev/null && picture >"$dir/before" &&
		kill9 && start && picture >"$dir/after" && diff "$dir/before" "$dir/after"
}

# From exec to the guests' sockets, which listen at once, and to the first answer; ten members.
restart_time() {
	local begun took best=9999 listening=9999
	fresh
	truncate -s 64M "$files"/t{0..9}
	start && braid drive attach "$files"/t{0..9} >/dev/null &&
		braid array create t --level 6 --drives t{0..9} --yes >/dev/null && braid vhost create t >/dev/null || return
	for _ in 1 2 3; do
		stop || return
		begun=$(date +%s%N)
		"$BUILD/braidd" --run-dir "$dir/run" --state-dir "$dir/state" --cores 0 >>"$dir/log" 2>&1 &
		daemon=$!
		until [[ -S $dir/run/vhost/t.sock ]]; do sleep 0.005; done
		took=$((($(date +%s%N) - begun) / 1000000))
		((took >= listening)) || listening=$took
		within 5 braid rpc version.get >/dev/null || return
		took=$((($(date +%s%N) - begun) / 1000000))
		((took >= best)) || best=$took
	done
	echo "from exec to listening sockets: $listening ms; to the first answer: $best ms"
	((listening < 300 && best < 1000))
}

# --- drives that move -------------------------------------------------------------------------------------------

shuffled() {
	media6 && stop || return
	mv "$files/m0" "$files/x" && mv "$files/m1" "$files/m0" && mv "$files/m2" "$files/m1" && mv "$files/x" "$files/m2"
	start && array_is media6 optimal && verify media6p0 && stop || return
	mv "$files/m3" "$files/renamed" && mkdir "$files/deep" && mv "$files/m5" "$dir/away/m5"
	start && within 4 array_is media6 degraded && logged 'event=DriveFound drive=renamed' && verify media6p0 || return
	says 'm5 .*absent' braid drive list
}

absent() {
	media6 && stop && mv "$files/m4" "$dir/away/m4" && start || return
	array_is media6 assembling && says 'ASSEMBLING' braid status && says 'why: .*5 of 6' braid status || return
	within 4 array_is media6 degraded && verify media6p0 &&
		load media6p0 --span 1M --verify mixed --pattern randwrite --block-size 16K --time 1 || return
	logged 'event=DegradedArray array=media6' || return
	mv "$dir/away/m4" "$files/m4" && within 5 says 'm4 is back: braid array readd media6 m4' braid status || return
	braid array readd media6 m4 >/dev/null && within 20 healed media6 && verify media6p0 || return
	# Only what it missed: 1 MiB of 48 was written, the whole member has 896 chunks.
	braid rpc array.show '{"name": "media6"}' | jq -e '.array.members[4].writes | . > 0 and . < 100' >/dev/null ||
		{ echo "more than what it missed was copied"; braid array show media6; return 1; }
	stop && start && array_is media6 optimal && verify media6p0
}

too_many_absent() {
	media6 && stop && mv "$files"/m{0,2,4} "$dir/away" && start || return
	sleep 1.5
	array_is media6 incomplete && says 'INCOMPLETE' braid status && refuses 'media6' braid array start media6 || return
	[[ ! -e $dir/run/vhost/media6p0.sock ]] || { echo "a controller without its array"; return 1; }
	mv "$dir"/away/m{0,2,4} "$files" && within 5 array_is media6 optimal && verify media6p0
}

# --- the state file ---------------------------------------------------------------------------------------------

state_lost() {
	media6 && picture >"$dir/before" && stop && rm -rf "$dir/state" && start || return
	says '^0$' bash -c "$BUILD/braid rpc array.list | jq '.arrays | length'" || return
	says 'media6 imported: optimal, 2 volumes' braid array import --scan "$files" || return
	picture >"$dir/after" && diff "$dir/before" "$dir/after" && verify media6p0 || return
	stop && start && picture >"$dir/after" && diff "$dir/before" "$dir/after"
}

# Whatever is left of the state file, the daemon starts; with the previous one, everything is back.
state_cut() {
	local bytes length i
	media6 && stop || return
	cp -r "$dir/state" "$dir/kept"
	bytes=$(stat -c %s "$dir/state/state.json")
	for ((i = 0; i < 40; i++)); do
		length=$((bytes * i / 40))
		rm -rf "$dir/state" && cp -r "$dir/kept" "$dir/state" && rm -f "$dir/state/state.json.previous"
		truncate -s "$length" "$dir/state/state.json"
		start || { echo "cut to $length of $bytes bytes"; return 1; }
		braid status >/dev/null && stop || return
		grep -c 'event=StateDamaged' "$dir/log" | grep -qx $((i + 1)) || { echo "cut to $length: not one warning"; return 1; }
	done
	rm -rf "$dir/state" && cp -r "$dir/kept" "$dir/state" && cp "$dir/state/state.json" "$dir/state/state.json.previous"
	# One letter of a path: still JSON, and a drive that is not there.
	sed -i 's|files/m0|files/n0|' "$dir/state/state.json"
	start && logged 'checksum is wrong' && array_is media6 optimal && verify media6p0 && stop && start && array_is media6 optimal && stop || return
	rm -rf "$dir/kept"
}

# A folder that cannot be written is said, once, and the daemon runs.
state_unwritable() {
	fresh
	"$BUILD/braidd" --run-dir "$dir/run" --state-dir /proc/braid --cores 0 >>"$dir/log" 2>&1 &
	daemon=$!
	within 3 braid rpc version.get >/dev/null && truncate -s 64M "$files"/u{0..3} || return
	braid drive attach "$files"/u{0..3} >/dev/null && braid array create u --level 5 --drives u{0..3} --yes >/dev/null || return
	logged 'event=StateNotSaved' && [[ $(grep -c StateNotSaved "$dir/log") == 1 ]] && stop
}

# --- drives that are not what they should be --------------------------------------------------------------------

duplicate() {
	media6 || return
	cp "$files/m1" "$files/copy"
	refuses 'copy of drive m1' braid drive attach "$files/copy" || return
	stop && mv "$files/m0" "$dir/away" && cp "$files/m1" "$files/m0" && start || return
	array_is media6 refused && says 'twice' braid status && refuses 'twice' braid array start media6 || return
	stop && cp "$dir/away/m0" "$files/m0" && start && array_is media6 optimal && verify media6p0
}

foreign() {
	media6 && stop && mv "$dir/state" "$dir/host1" && start && braid drive attach "$files"/m{0..5} >/dev/null || return
	array_is media6 foreign && says 'another host' braid status && refuses 'import' braid array start media6 || return
	[[ ! -e $dir/run/vhost/media6p0.sock ]] || { echo "a foreign array is exported"; return 1; }
	refuses 'member of array media6' braid array create x --level 1 --drives m0 m1 --yes || return
	says 'media6 imported' braid array import media6 && verify media6p0 && stop || return
	rm -rf "$dir/state" && mv "$dir/host1" "$dir/state" && start && array_is media6 foreign
}

other_member() {
	media6 && truncate -s 64M "$files"/o{0,1} && braid drive attach "$files"/o{0,1} >/dev/null &&
		braid array create other --level 1 --drives o0 o1 --yes >/dev/null && stop || return
	mv "$files/m2" "$dir/away" && mv "$files/o0" "$files/m2" && start || return
	array_is other optimal && within 4 array_is media6 degraded && verify media6p0
}

destroyed() {
	local size at
	media6 && stop || return
	size=$(stat -c %s "$files/m2")
	for ((at = 0; at < 16; at++)); do
		printf 'braid' | dd of="$files/m2" bs=1 seek=$((1048576 + at * 4096 + 200)) conv=notrunc
		printf 'braid' | dd of="$files/m2" bs=1 seek=$((size - 2097152 + at * 4096 + 200)) conv=notrunc
	done 2>/dev/null
	refuses 'm2.*(damaged|checksum)' "$BUILD/braid" array examine "$files/m2" || return
	start && within 4 array_is media6 degraded && verify media6p0 || return
	refuses 'm2 holds a braid superblock that is damaged' braid array add media6 m2 --yes || return
	braid array add media6 m2 --yes --wipe-signatures >/dev/null && within 20 healed media6 && verify media6p0 && stop || return
	# Nothing of the superblocks is left: the partition table still says what it was.
	for at in 1048576 $((size - 2097152)); do
		dd if=/dev/urandom of="$files/m3" bs=64K count=1 seek=$((at / 65536)) conv=notrunc
	done 2>/dev/null
	refuses 'm3.*partition table' "$BUILD/braid" array examine "$files/m3" || return
	start && within 4 array_is media6 degraded && refuses 'm3 .*damaged' braid array create x --level 0 --drives m3 --yes || return
	refuses '0 drives are free' braid array create x --level 0 --drives free:1 --yes
}

# Each half of a mirror ran without the other: neither is chosen, and each is still there.
split_brain() {
	fresh
	truncate -s 64M "$files"/b{0,1}
	start && braid drive attach "$files"/b{0,1} >/dev/null && braid array create b --level 1 --drives b0 b1 --yes >/dev/null &&
		braid vhost create b >/dev/null && fill b && stop || return
	mv "$files/b1" "$dir/away" && start && within 5 array_is b degraded && overwrite b && stop || return
	mv "$files/b0" "$dir/away/b0" && mv "$dir/away/b1" "$files" && start && within 5 array_is b degraded && overwrite b && stop || return
	mv "$dir/away/b0" "$files" && cp "$files"/b{0,1} "$dir/away" && start && array_is b refused || return
	says 'drives b[01] went on without b[01], and' braid status && refuses 'choose one side' braid array start b || return
	[[ ! -e $dir/run/vhost/b.sock ]] || { echo "a split array is exported"; return 1; }
	stop && cmp "$files/b0" "$dir/away/b0" && cmp "$files/b1" "$dir/away/b1" || return
	# The operator chooses.
	rm "$files/b0" && start && within 5 array_is b degraded && verify b
}

# A drive that takes writes and cannot make them stable is given up, before a guest's flush is acknowledged.
flush_fails() {
	local drive only='"first": 4611686018427387904, "end": 4611686018427387905' # no write is there; a flush has no place
	fresh
	truncate -s 64M "$files"/f{0..4}
	start && braid drive attach "$files"/f{0..4} --injectable >/dev/null &&
		braid array create f --level 6 --drives f{0..4} --yes >/dev/null && braid vhost create f >/dev/null && fill f || return
	for drive in f1 f3; do
		braid rpc drive.inject "{\"name\": \"$drive\", \"rules\": [{\"kind\": \"error\", \"writes\": true, $only}]}" >/dev/null &&
			load f --verify mixed --pattern randwrite --block-size 4K --bytes 64K --flush-every 2 || return
		# So few writes need no flush of braid's own.
		logged "event=Fail array=f .*drive=\"$drive\" reason=\"a flush failed" || return
		load f --verify mixed --pattern randrw --block-size 16K --flush-every 8 --time 1 || return
	done
	array_is f degraded && kill9 && start && within 5 array_is f degraded && verify f || return
	braid rpc array.show '{"name": "f"}' | jq -e '[.array.members[] | select(.state == "failed")] | length == 2' >/dev/null
}

# A sector that cannot be read when its row is needed to rebuild another drive: the rebuild goes on, what is lost is an
# error and nothing else is, also after a kill; and what can be read again then is right again.
bad_sector() {
	local bad='[.array.members[].bad_blocks] | add'
	fresh
	truncate -s 64M "$files"/b{0..4}
	start && braid drive attach "$files"/b{0..4} --injectable >/dev/null &&
		braid array create b --level 5 --drives b{0..3} --yes >/dev/null && braid vhost create b >/dev/null && fill b || return
	# Row 8 of stripe 1: the data begin at 6 MiB.
	braid array fail b b0 >/dev/null && braid drive inject b1 --error --reads --first 1576 --end 1577 >/dev/null &&
		braid array add b b4 --yes >/dev/null && within 20 healed b && logged 'event=RebuiltWithLoss array=b rows=1' || return
	braid rpc array.show '{"name": "b"}' | jq -e "$bad == 1" >/dev/null && says 'b4 has 1 bad blocks' braid status b &&
		refuses 'has bad blocks' braid array fail b b2 || return
	"$BUILD/braid-bench" vhost "$dir/run/vhost/b.sock" --span 48M --depth 16 --verify check --pattern read --block-size 4K \
		--bytes 48M --json >"$dir/load" && { echo "nothing was lost"; return 1; }
	jq -e '.mismatches == 0 and .read.errors >= 1 and .read.errors <= 2' "$dir/load" >/dev/null || { cat "$dir/load"; return 1; }
	# The drive's fault ends with its process, and the row can be told again.
	kill9 && start && within 20 healed b && verify b && braid array scrub b >/dev/null || return
	braid rpc array.show '{"name": "b"}' | jq -e "$bad == 0" >/dev/null
}

# The wall clock goes forth and back by ten years, every second.
clock_steps() {
	local LD_PRELOAD=
	fresh
	truncate -s 64M "$files"/m{0..4}
	export LD_PRELOAD=$(realpath "$BUILD/tests/clock_steps.so")
	start && braid drive attach "$files"/m{0..4} >/dev/null &&
		braid array create m --level 5 --drives m{0..3} --yes >/dev/null && braid vhost create m >/dev/null && fill m || return
	braid array fail m m1 >/dev/null && braid array add m m4 --yes >/dev/null && overwrite m && within 20 healed m && verify m || return
	braid array scrub m >/dev/null && kill9 && start && array_is m optimal && verify m && stop && rm "$files/m0" || return
	# A drive that is missing is waited for three seconds, whatever the clock says meanwhile.
	for _ in 1 2 3; do
		cp "$files"/m? "$dir/away" && start --assemble-wait 3 && sleep 2 && array_is m assembling || return
		within 10 array_is m degraded && verify m && kill9 || return
		rm -f "$files"/m? && mv "$dir/away"/m{1..4} "$files" || return
	done
}

# By hand: OLD_BUILD=FOLDER tests/system/persistence.sh upgrade. To another build and back, under a restart and a kill.
upgrade() {
	local new=$BUILD
	[[ ${OLD_BUILD:-} ]] || { echo "OLD_BUILD is not set"; return 1; }
	BUILD=$OLD_BUILD && media6 && picture >"$dir/before" && stop || return
	for BUILD in "$new" "$OLD_BUILD" "$new"; do
		start && array_is media6 optimal && picture >"$dir/after" && diff "$dir/before" "$dir/after" && verify media6p0 &&
			overwrite media6p0 && kill9 || return
	done
	start && within 10 healed media6 && verify media6p0 && braid array scrub media6 >/dev/null && stop
}

two_daemons() {
	media6 || return
	refuses 'another braidd' "$BUILD/braidd" --run-dir "$dir/run2" --state-dir "$dir/state" --cores 0 || return
	refuses 'another braidd' "$BUILD/braidd" --run-dir "$dir/run" --state-dir "$dir/state2" --cores 0 || return
	"$BUILD/braidd" --run-dir "$dir/run2" --state-dir "$dir/state2" --cores 0 >>"$dir/log2" 2>&1 &
	local second=$! status=0
	within 3 "$BUILD/braid" --socket "$dir/run2/rpc.sock" rpc version.get >/dev/null || status=1
	refuses 'locked|another braidd' "$BUILD/braid" --socket "$dir/run2/rpc.sock" drive attach "$files/m0" || status=1
	refuses 'locked|another braidd|no member' "$BUILD/braid" --socket "$dir/run2/rpc.sock" array import --scan "$files" || status=1
	kill "$second" && wait "$second" || status=1
	rm -rf "$dir/run2" "$dir/state2"
	return $status
}

export_import() {
	media6 && picture >"$dir/before" && says 'drives are given back' braid array export media6 || return
	says '^0 0$' bash -c "$BUILD/braid rpc status.get | jq -r '\"\(.arrays | length) \(.drives | length)\"'" || return
	stop && start && says '^0$' bash -c "$BUILD/braid rpc array.list | jq '.arrays | length'" || return
	# It is nobody's: shown, and not started without import.
	braid drive attach "$files"/m{0..5} >/dev/null && array_is media6 foreign && says 'was exported, and belongs to no host' braid status &&
		refuses 'array import media6' braid array start media6 && braid array export media6 >/dev/null || return
	mkdir "$files/new" && mv "$files"/m{0..5} "$files/new" || return
	refuses 'allow-degraded|too few' braid array import "$files"/new/m{0,1,2,3} || return
	says '^0$' bash -c "$BUILD/braid rpc drive.list | jq '.drives | length'" || return
	says 'imported: optimal' braid array import "$files"/new/m{0..5} && picture >"$dir/after" &&
		diff "$dir/before" "$dir/after" && verify media6p0
}

stop_start() {
	media6 && picture >"$dir/before" && says 'is stopped' braid array stop media6 && array_is media6 stopped || return
	refuses 'does not run' braid volume create media6/x --size 1M || return
	refuses 'of array media6|member of array' braid array create x --level 1 --drives m0 m1 --yes || return
	says 'runs: optimal, 2 volumes' braid array start media6 && picture >"$dir/after" && diff "$dir/before" "$dir/after" || return
	refuses 'already' braid array start media6 || return
	verify media6p0 && braid array stop media6 >/dev/null && stop && start && array_is media6 optimal
}

memory_drives() {
	fresh
	start && braid drive attach ram:r{0..3}:64M >/dev/null && braid array create r --level 5 --drives r{0..3} --yes >/dev/null &&
		stop && start || return
	says '^4 0$' bash -c "$BUILD/braid rpc status.get | jq -r '\"\(.drives | length) \(.arrays | length)\"'" || return
	logged 'event=ArrayGone array=r' || return
	stop && start && [[ $(grep -c ArrayGone "$dir/log") == 1 ]]
}

# random_kill MS: at any moment of the next MS milliseconds.
random_kill() { sleep "$(printf '0.%03d' $((RANDOM % $1)))" && kill9; }

# All of it, running, or nothing: its drives are free, and nobody speaks of it.
whole_or_nothing() {
	case $(braid rpc array.list | jq -r '[.arrays[] | .state] | join(" ")') in
	optimal) echo whole ;;
	'') says '4 free' bash -c "$BUILD/braid rpc drive.list | jq -r '[.drives[] | select(.user == \"\")] | \"\(length) free\"'" >&2 && echo nothing ;;
	*) braid status >&2 && tail -n 5 "$dir/log" >&2 && return 1 ;;
	esac
}

# Killed while an array is made, or deleted.
unmade() {
	local round outcome made=0 deleted=0
	fresh
	truncate -s 16M "$files"/u{0..3}
	start && braid drive attach "$files"/u{0..3} --delay 6000 >/dev/null || return
	for ((round = 0; round < 12; round++)); do
		braid array create u --level 5 --drives u{0..3} --yes >/dev/null 2>&1 &
		random_kill 120
		start && outcome=$(whole_or_nothing) || return
		if [[ $outcome == nothing ]]; then
			braid array create u --level 5 --drives u{0..3} --yes >/dev/null || return
		else
			made=$((made + 1))
		fi
		braid array delete u --yes >/dev/null 2>&1 &
		random_kill 500
		start && outcome=$(whole_or_nothing) || return
		[[ $outcome == whole ]] || { deleted=$((deleted + 1)) && continue; }
		braid array delete u --yes >/dev/null || return
	done
	echo "12 kills in create: $made made; 12 in delete: $deleted deleted; leftovers erased: $(grep -c LeftoversErased "$dir/log")"
}

# A change that cannot be written on the members is not made.
notes_unwritable() {
	fresh
	truncate -s 64M "$files"/w{0,1}
	start && braid drive attach "$files"/w{0,1} --injectable >/dev/null &&
		braid array create w --level 1 --drives w0 w1 --yes >/dev/null && braid volume create w/a --size 4M >/dev/null || return
	picture >"$dir/before"
	braid drive inject w0 --error --writes >/dev/null && braid drive inject w1 --error --writes >/dev/null || return
	refuses '.' braid volume create w/b --size 4M && refuses '.' braid volume delete a --yes || return
	picture | jq .volumes >"$dir/after" && jq .volumes "$dir/before" | diff - "$dir/after"
}

# A crash of a degraded array without a log: said, refused, started by explicit wish.
accept_loss() {
	fresh
	truncate -s 64M "$files"/a{0..3}
	start && braid drive attach "$files"/a{0..3} >/dev/null &&
		braid array create a --level 5 --drives a{0..3} --consistency bitmap --yes >/dev/null && braid vhost create a >/dev/null &&
		fill a && braid array fail a a1 >/dev/null || return
	"$BUILD/braid-bench" vhost "$dir/run/vhost/a.sock" --span 48M --pattern randwrite --block-size 4K --depth 16 --time 5 >/dev/null 2>&1 &
	sleep 1
	kill9
	wait
	rm -f "$dir/run/vhost/a.sock"
	start && within 4 array_is a refused && says 'accept-loss' braid status && refuses 'accept-loss' braid array start a || return
	[[ ! -e $dir/run/vhost/a.sock ]] && logged 'event=SocketClosed socket=.*/a.sock' ||
		{ echo "an array that does not run is exported, or its socket did not listen meanwhile"; return 1; }
	says 'a runs: degraded' braid array start a --accept-loss && stop && start && within 4 array_is a degraded
}

# job_of TYPE: the id of the one that runs or is paused.
job_of() { braid rpc job.list | jq -e "[.jobs[] | select(.type == \"$1\" and (.state == \"running\" or .state == \"paused\"))][0].id // empty"; }

# A drive is not given up while others cannot make up for it everywhere.
fail_while_dirty() {
	fresh
	truncate -s 64M "$files"/d{0..3}
	start && braid drive attach "$files"/d{0..3} --delay 15000 >/dev/null &&
		braid array create d --level 5 --drives d{0..3} --consistency bitmap --yes >/dev/null && braid vhost create d >/dev/null || return
	"$BUILD/braid-bench" vhost "$dir/run/vhost/d.sock" --span 48M --pattern randwrite --block-size 4K --depth 32 --time 5 >/dev/null 2>&1 &
	sleep 1.5
	kill9
	wait
	start && within 10 job_of resync >/dev/null && braid job pause "$(job_of resync)" >/dev/null || return
	refuses 'wait for a resync' braid array fail d d1 && array_is d optimal || return
	braid job resume "$(job_of resync)" >/dev/null && within 20 idle && braid array fail d d1 >/dev/null && array_is d degraded
}

# --- spares, replace, scrub, jobs -------------------------------------------------------------------------------

spare() {
	fresh
	truncate -s 64M "$files"/s{0..8}
	start && braid drive attach "$files"/s{0..8} >/dev/null &&
		says 'spares: s4' braid array create s --level 5 --drives s{0..3} --spares 1 --yes &&
		braid vhost create s >/dev/null && fill s || return
	braid array fail s s1 >/dev/null && within 20 healed s && verify s && logged 'event=RebuildFinished array=s' || return
	says 'add|5 drives will|will help' braid spare add s8 --yes && says 's8' braid spare list || return
	stop && start && says 's8' braid spare list && braid array fail s s2 >/dev/null && within 20 healed s && verify s || return
	says '^0$' bash -c "$BUILD/braid rpc spare.list | jq '.spares | length'" || return
	braid array fail s s3 >/dev/null && within 3 logged 'event=SparesMissing array=s' || return
	braid array remove s s1 >/dev/null 2>&1 || :
	braid array add s s5 --yes >/dev/null && within 20 healed s && verify s && stop && start && array_is s optimal && verify s
}

no_auto_rebuild() {
	fresh
	truncate -s 64M "$files"/s{0..4}
	start --no-auto-rebuild && braid drive attach "$files"/s{0..4} >/dev/null &&
		braid array create s --level 5 --drives s{0..3} --spare s4 --yes >/dev/null && braid array fail s s1 >/dev/null || return
	sleep 2
	array_is s degraded && braid array replace s s1 s4 --yes >/dev/null && within 20 healed s
}

replace() {
	media6 && truncate -s 64M "$files/n" && braid drive attach "$files/n" >/dev/null || return
	refuses 'no drive' braid array replace media6 nope n --yes || return
	braid array replace media6 m3 n --yes >/dev/null && within 20 logged 'event=RebuildFinished array=media6' && within 5 idle || return
	array_is media6 optimal && verify media6p0 || return
	braid rpc array.show '{"name": "media6"}' | jq -e '.array.members[3].drive == "n"' >/dev/null || return
	stop && rm "$files/m3" && start && within 3 array_is media6 optimal && verify media6p0
}

scrub() {
	local offset
	media6 && says 'agrees' braid array scrub media6 && stop || return
	offset=$(data_offset "$files/m1")
	printf 'braid' | dd of="$files/m1" bs=1 seek=$((offset + 70000)) conv=notrunc 2>/dev/null
	start && refuses 'do not agree' braid array scrub media6 -q && logged 'event=ScrubMismatch array=media6' || return
	says '1 rows do not agree, in 1 of them' braid array scrub media6 --repair && says 'agrees' braid array scrub media6 &&
		verify media6p0
}

# scrub_is JQ: of the scrub that runs.
scrub_is() { braid rpc job.list | jq -e "any(.jobs[]; .type == \"scrub\" and .state != \"done\" and ($1))" >/dev/null; }

# So does a scrub, with what it had found.
scrub_resumed() {
	local offset mark
	fresh
	truncate -s 512M "$files"/c{0..3}
	start && braid drive attach "$files"/c{0..3} >/dev/null && braid array create c --level 5 --drives c{0..3} --yes >/dev/null && stop || return
	offset=$(data_offset "$files/c1")
	for mark in 1 300; do
		printf 'braid' | dd of="$files/c1" bs=1 seek=$((offset + mark * 1048576)) conv=notrunc 2>/dev/null
	done
	start && braid array scrub c --no-wait >/dev/null && braid job limit "$(job_of scrub)" 60M >/dev/null || return
	within 10 scrub_is '.done_bytes > 80000000 and .mismatches == 1' && stop && start && within 10 scrub_is '.resumed_bytes >= 67108864' &&
		scrub_is '.mismatches == 1 and .limit_bytes_per_second == 62914560' || { braid rpc job.list; return 1; }
	mark=$(braid rpc job.list | jq '.jobs[0].resumed_bytes')
	# Crashed, it is some seconds behind.
	braid job limit "$(job_of scrub)" 25M >/dev/null
	within 15 bash -c "grep -v ^crc32c '$dir/state/state.json' | jq -e 'any(.arrays[]; .mark.done_bytes > $mark)' >/dev/null" || return
	kill9 && start && within 10 scrub_is ".resumed_bytes > $mark" || { braid rpc job.list; return 1; }
	braid job limit "$(job_of scrub)" none >/dev/null && within 20 idle || return
	braid rpc job.list | jq -e '.jobs[0] | .state == "done" and .mismatches == 2' >/dev/null || { braid rpc job.list; return 1; }
	# The next one begins at the beginning.
	refuses 'do not agree' braid array scrub c -q && braid rpc job.list | jq -e '.jobs[-1].resumed_bytes == 0' >/dev/null
}

# A rebuild goes on where it was, with the limit that it had.
rebuild_killed() {
	local id before after
	fresh
	truncate -s 512M "$files"/k{0..3} "$files/new"
	start && braid drive attach "$files"/k{0..3} >/dev/null && braid drive attach "$files/new" --delay 4000 >/dev/null &&
		braid array create k --level 5 --drives k{0..3} --yes >/dev/null && braid vhost create k >/dev/null && fill k &&
		braid array fail k k1 >/dev/null && braid array add k new --yes >/dev/null || return
	within 5 bash -c "$BUILD/braid rpc job.list | jq -e 'any(.jobs[]; .type == \"rebuild\")' >/dev/null" || return
	id=$(braid rpc job.list | jq '.jobs[] | select(.type == "rebuild").id')
	braid job limit "$id" 40M >/dev/null || return
	sleep 4
	before=$(braid rpc job.list | jq ".jobs[] | select(.id == $id).done_bytes")
	kill9 && start && within 5 bash -c "$BUILD/braid rpc job.list | jq -e 'any(.jobs[]; .type == \"rebuild\")' >/dev/null" || return
	braid rpc job.list | jq -e '.jobs[] | select(.type == "rebuild") | .limit_bytes_per_second == 41943040' >/dev/null ||
		{ echo "the limit is forgotten"; braid rpc job.list; return 1; }
	id=$(braid rpc job.list | jq '.jobs[] | select(.type == "rebuild").id')
	after=$(braid rpc job.list | jq ".jobs[] | select(.id == $id).done_bytes")
	((after >= before / 4)) || { echo "$before bytes were done before, and $after after the crash"; return 1; }
	braid job pause "$id" >/dev/null && sleep 0.3 && kill9 && start && within 5 bash -c \
		"$BUILD/braid rpc job.list | jq -e 'any(.jobs[]; .type == \"rebuild\" and .state == \"paused\")' >/dev/null" || return
	id=$(braid rpc job.list | jq '.jobs[] | select(.type == "rebuild").id')
	refuses 'pause' braid job cancel "$id" || return
	braid job resume "$id" >/dev/null && braid job limit "$id" none >/dev/null && within 60 healed k && verify k
}

# A job makes way for guests that work, but never stops, and has everything when they do not.
job_auto() {
	local before
	fresh
	start && braid drive attach ram:a{0..3}:2G --delay 300 --jitter 300 >/dev/null &&
		braid array create a --level 5 --drives a{0..3} --yes >/dev/null && braid vhost create a >/dev/null || return
	load a --pattern randrw --block-size 4K --depth 4 --time 3 && braid array scrub a --no-wait >/dev/null &&
		braid job limit "$(job_of scrub)" auto >/dev/null || return
	load a --pattern randrw --block-size 4K --depth 4 --time 12 &
	sleep 5
	before=$(braid rpc job.list | jq '.jobs[-1].done_bytes')
	for _ in {1..6}; do
		scrub_is '.limit_now_bytes_per_second >= 4194304 and (.throttle | test("/s"))' || { braid rpc job.list; return 1; }
		sleep 0.9
	done
	scrub_is ".done_bytes - $before >= 8388608" || { braid rpc job.list; return 1; }
	says 'p99|measured' braid job list && wait $! || return
	within 10 scrub_is '.limit_now_bytes_per_second == 0 and .throttle == "guests are idle"' || { braid rpc job.list; return 1; }
	braid job cancel "$(job_of scrub)" >/dev/null && within 5 idle
}

# What cannot be is refused with one sentence.
bad_input() {
	media6 && truncate -s 64M "$files"/{a,b} && truncate -s 8M "$files/small" && braid drive attach "$files"/{a,b,small} >/dev/null || return
	refuses 'no consistency' braid array create x --level 1 --drives a b --consistency foo --yes &&
		refuses 'no array' braid array start nope && refuses 'no array' braid array stop nope &&
		refuses 'already' braid array start media6 && refuses 'in use' braid array add media6 m0 --yes &&
		refuses 'no drive' braid array add media6 nope --yes && refuses 'never a member' braid array readd media6 a &&
		refuses 'too small|is too small' braid array add media6 small --yes && refuses 'nothing to do' braid array readd media6 m0 &&
		refuses 'in use' braid array remove media6 m0 && refuses 'holds no data|no drive' braid array replace media6 a b --yes &&
		refuses 'no job' braid job pause 99 && refuses 'no whole number' braid job limit x none &&
		refuses 'no shared spare' braid spare remove a && refuses 'No such file' braid array import "$files/nope" --scan "$files/nope" &&
		refuses 'no member' braid array import --scan "$dir/away" && refuses 'LOST' braid array add media6 a &&
		refuses 'no superblock|no braid|not' "$BUILD/braid" array examine "$files/a" && refuses 'No such file' "$BUILD/braid" array examine "$files/nope" &&
		refuses 'seconds' "$BUILD/braidd" --assemble-wait x && says 'media6' "$BUILD/braid" array examine "$files/m0"
}

# --- running ----------------------------------------------------------------------------------------------------

cases=(restart restart_time shuffled absent too_many_absent state_lost state_cut state_unwritable duplicate foreign
	other_member destroyed split_brain flush_fails bad_sector clock_steps two_daemons export_import stop_start memory_drives notes_unwritable
	unmade accept_loss fail_while_dirty spare no_auto_rebuild replace scrub
	rebuild_killed scrub_resumed job_auto bad_input)
(($# > 0)) || set -- "${cases[@]}"
for case in "$@"; do
	begun=$SECONDS
	if "$case" >"$dir/out" 2>&1; then
		passed=$((passed + 1))
		printf 'ok      %-20s %3d s  %s\n' "$case" $((SECONDS - begun)) "$(tail -n 1 "$dir/out")"
	else
		failed=$((failed + 1))
		printf 'NOT OK  %-20s\n' "$case"
		{ tail -n 12 "$dir/out"; tail -n 12 "$dir/log"; } | sed 's/^/        | /'
	fi
done
[[ ! $daemon ]] || stop
echo "$passed passed, $failed failed"
((failed == 0))
