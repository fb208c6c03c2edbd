#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What each consistency policy promises, shown one case at a time on a real daemon with file drives: a crash under write
# load that takes a member with it, a crash while degraded, and, without a log, the refusal that names the cure.
#
# Usage: tests/kill/demonstrate.sh [CASE...]     Environment: BUILD     Exit status: 0 all as promised.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib.sh

work=$(mktemp -d /tmp/demo.XXXXXX)
files=$work/files
engine_pid='' load_pid=''
clean() {
	[[ ! $load_pid ]] || kill -KILL "$load_pid" 2>/dev/null || :
	[[ ! $engine_pid ]] || kill -KILL "$engine_pid" 2>/dev/null || :
	wait
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

bench=("$BUILD/braid-bench" vhost "$work/run/vhost/a.sock" --span 48M)
bench() { "${bench[@]}" "$@" >"$work/bench" 2>&1; }
state() { braid rpc array.show '{"name": "a"}' 2>/dev/null | jq -r .array.state; }

# make LEVEL POLICY DRIVES: array a of slow files (so that much is in flight), filled with content that proves itself.
make() {
	local drives=() i
	mkdir -p "$files" "$work/away"
	for ((i = 0; i < $3; i++)); do
		drives+=("$files/m$i")
	done
	truncate -s 40M "${drives[@]}"
	engine_start "$work/run" --assemble-wait 0 && braid drive attach "${drives[@]}" --delay 200 --jitter 2000 >/dev/null &&
		braid array create a --level "$1" --consistency "$2" --chunk 16K --drives "${drives[@]##*/}" --yes >/dev/null &&
		braid vhost create a >/dev/null && bench --verify fill --pattern write --block-size 256K --bytes 48M
}

# Writes of a few blocks, and a SIGKILL in their midst; then members are taken away.
crash() {
	"${bench[@]}" --verify mixed --pattern randwrite --block-size 12K --depth 16 --time 30 >"$work/bench" 2>&1 &
	load_pid=$!
	sleep 0.7
	murder
	wait "$load_pid" || :
	load_pid=''
	grep -q 'closed the session' "$work/bench" || { cat "$work/bench"; return 1; }
	(($# == 0)) || mv "$@" "$work/away"
}

murder() {
	kill -KILL "$engine_pid"
	wait "$engine_pid" 2>/dev/null || :
	engine_pid=''
}

restart() {
	local i
	engine_restart --assemble-wait 0 || return
	for ((i = 0; i < 100; i++)); do
		[[ $(state) != "$1" ]] || return 0
		sleep 0.05
	done
	echo "the array is $(state), not $1"
	return 1
}

# Everything that was written reads back whole.
intact() {
	bench --verify check --pattern read --block-size 256K --bytes 48M || { cat "$work/bench"; return 1; }
	grep -o '[0-9.]* [KMG]iB checked.*' "$work/bench" || :
}

end() {
	engine_stop
	rm -rf "$files" "$work/away"
}

# Without members at once, as many as the level survives; and with the last of them only at the second crash.
protected() {
	local level=$1 lose=$2 count=$3 gone=() i
	for ((i = 0; i < lose; i++)); do
		gone+=("$files/m$((i * 2))")
	done
	make "$level" log "$count" && crash "${gone[@]}" && restart degraded && intact && end || return
	echo "RAID $level: a crash under load that takes $lose of $count members: nothing stable is lost"
	make "$level" log "$count" || return
	for ((i = 0; i < lose; i++)); do
		braid array fail a "m$((i * 2 + 1))" >/dev/null || return
	done
	crash && restart degraded && intact && end || return
	echo "RAID $level: a crash under load with $lose of $count members failed before: nothing stable is lost"
}

# Refused, with a sentence; right again when the member is back; started without it by explicit wish.
refused() {
	local policy=$1 text
	make 5 "$policy" 4 && crash "$files/m1" && restart refused || return
	text=$(braid array start a 2>&1) && { echo "not refused: $text"; return 1; }
	[[ $text == *--accept-loss* && $(wc -l <<<"$text") == 1 ]] || { echo "refused without a cure: $text"; return 1; }
	echo "RAID 5, $policy: $text"
	murder
	mv "$work/away/m1" "$files" && restart optimal && intact || return
	echo "RAID 5, $policy: with the member back, nothing is lost"
	crash "$files/m1" && restart refused && braid array start a --accept-loss >/dev/null && [[ $(state) == degraded ]] || return
	echo "RAID 5, $policy: --accept-loss starts it"
	end
}

cases=("protected 5 1 4" "protected 6 2 6" "protected 7 3 7" "refused bitmap" "refused adaptive")
(($# == 0)) || cases=("$@")
for case in "${cases[@]}"; do
	# shellcheck disable=SC2086 # words on purpose
	$case || { echo "NOT AS PROMISED: $case"; tail -n 15 "$work/run/braidd.log"; exit 1; }
done
