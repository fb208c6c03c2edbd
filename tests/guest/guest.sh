# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the scripts that run inside a guest share. They run in their work directory, see init and lib.sh, and end with
#   0: well  1: the script or its set-up is wrong  2: the disk reported an I/O error  3: data differ  4: stalled or gone (init)
set -euo pipefail
guest_work=$PWD

# Announces a stage: the host reads it in the file `stage` and in the log. Waits there for guest_release when
# GUEST_HOLD, a list, names the stage, so that the host can do something to the array exactly here.
stage() {
	echo "stage $1"
	echo "$1" >"$guest_work/stage"
	[[ " ${GUEST_HOLD:-} " != *" $1 "* ]] || until [[ -e $guest_work/release.$1 ]]; do sleep 0.1; done
}

# Ends the script with an exit status and one sentence.
die() {
	echo "${*:2}" | tee "$guest_work/error"
	exit "$1"
}

# The exit status that the kernel's view of the disk suggests for a failure that could have many reasons.
disk_or() { if [[ $(dmesg) == *'I/O error, dev vd'* ]]; then echo 2; else echo "$1"; fi; }
