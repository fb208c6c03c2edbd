# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# A guest whose disk's back end is killed and started anew under verified load. Source this file after lib.sh.
#
#     survive WORKDIR SOCKET COMMAND...   boots a QEMU guest (it reconnects; User-Mode Linux cannot) on SOCKET and runs
#         COMMAND N SURVIVE_KILLS times, N from 1, at any moment while fio writes and verifies in it. COMMAND ends the
#         back end however it likes, starts it anew with the same content on the same socket, and fails if it cannot.
#         0: the guest has seen no I/O error, its data are right and its file system is whole. Prints the longest time
#         that a request took in the guest.
#
# Environment: SURVIVE_KILLS (20), SURVIVE_EVERY_S (3, at most, between two of them), and those of lib.sh and survive.sh.

# COMMAND runs in this shell and sees these variables: hence their names.
# shellcheck disable=SC2154 # guest_dir is lib.sh's
survive() {
	local survive_dir=$1 survive_guest survive_round socket=$2 kills=${SURVIVE_KILLS:-20} status=0 tenths
	shift 2
	tenths=$((${SURVIVE_EVERY_S:-3} * 10))
	GUEST_TIMEOUT_S=${GUEST_TIMEOUT_S:-$((120 + kills * 10))} qemu_boot "$survive_dir" "$guest_dir/survive.sh" "$socket" &
	survive_guest=$!
	if ! guest_await "$survive_dir" load; then
		wait "$survive_guest" || status=$?
		echo "survive: the guest never came to its load: $status" >&2
		return 1
	fi
	for ((survive_round = 1; survive_round <= kills; survive_round++)); do
		sleep "$(((RANDOM % tenths) / 10)).$((RANDOM % 10))"
		[[ ! -e $survive_dir/ended ]] || break
		"$@" "$survive_round" || { echo "survive: restart $survive_round failed" >&2; status=1; break; }
	done
	guest_release "$survive_dir" load
	wait "$survive_guest" || status=$?
	((survive_round > kills)) || { echo "survive: only $((survive_round - 1)) of $kills restarts" >&2; return 1; }
	((status == 0)) || return "$status"
	echo "$kills restarts; $(tail -n 1 "$survive_dir/log"); the longest request in the guest: $(<"$survive_dir/pause_ms") ms"
}
