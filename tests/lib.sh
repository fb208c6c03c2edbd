# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What test suites and ./demo share. Source it from a script that runs in the repository's root.
#
#     try NAME COMMAND...     runs a check, its output into $LOGS/NAME.log; says ok or FAIL, and counts
#     passed=N failed=N       the counts; tally prints them as the closing line
#
#     engine_start RUN_DIR [OPTION...]   starts braidd, which remembers nothing, and waits until it answers
#     engine_restart [OPTION...]         starts it again, with what the last one remembered
#     engine_stop                        stops it; fails if it did not end well
#     braid ARGUMENT...                  the CLI, talking to that daemon
#
# Environment: BUILD (build), LOGS (build/logs), ENGINE_CORES (0).

BUILD=${BUILD:-build}
LOGS=${LOGS:-$BUILD/logs}
passed=0 failed=0
mkdir -p "$LOGS"

try() {
	local name=$1 begun=$SECONDS status=0
	shift
	"$@" >"$LOGS/$name.log" 2>&1 </dev/null || status=$?
	if ((status == 0)); then
		passed=$((passed + 1))
		printf 'ok    %-32s %4d s\n' "$name" $((SECONDS - begun))
	else
		failed=$((failed + 1))
		printf 'FAIL  %-32s %4d s  exit %d, see %s:\n' "$name" $((SECONDS - begun)) "$status" "$LOGS/$name.log"
		tail -n 20 "$LOGS/$name.log" | sed 's/^/      | /'
	fi
}

tally() {
	echo "$passed passed, $failed failed"
	((failed == 0))
}

engine_start() {
	engine_dir=$1
	shift
	mkdir -p "$engine_dir"
	rm -rf "$engine_dir/state"
	engine_restart "$@"
}

engine_restart() {
	"$BUILD/braidd" --run-dir "$engine_dir" --state-dir "$engine_dir/state" --cores "${ENGINE_CORES:-0}" "$@" \
		>>"$engine_dir/braidd.log" 2>&1 </dev/null &
	engine_pid=$!
	export BRAID_SOCKET=$engine_dir/rpc.sock
	for ((i = 0; i < 100; i++)); do
		"$BUILD/braid" rpc version.get >/dev/null 2>&1 && return
		kill -0 "$engine_pid" 2>/dev/null || break
		sleep 0.1
	done
	echo "braidd did not start: $(tail -n 1 "$engine_dir/braidd.log")" >&2
	return 1
}

engine_stop() {
	local pid=${engine_pid:-}
	[[ $pid ]] || return 0
	engine_pid=
	kill "$pid" 2>/dev/null || return 1
	wait "$pid"
}

braid() { "$BUILD/braid" "$@"; }
