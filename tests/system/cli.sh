#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# braid against a real braidd on ten sparse files: the article's commands, every kind of bad input
# (one sentence, the right exit status, nothing changed), and JSON that parses.
#
#	BUILD=build tests/system/cli.sh

set -u

BUILD=${BUILD:-build}
BRAID=${BRAID:-$BUILD/braid}
BRAIDD=${BRAIDD:-$BUILD/braidd}
dir=$(mktemp -d /tmp/braid-cli.XXXXXX)
daemon=
passed=0
failed=0

clean_up()
{
	if [ -n "$daemon" ]; then
		kill "$daemon" 2>/dev/null
		wait "$daemon" 2>/dev/null
	fi
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

pass()
{
	passed=$((passed + 1))
	echo "ok      $1"
}

fail()
{
	failed=$((failed + 1))
	echo "NOT OK  $1"
	sed 's/^/        | /' "$dir/out" "$dir/err" 2>/dev/null | head -n 20
}

braid()
{
	"$BRAID" "$@" </dev/null
}

# What must not change when something is refused.
state()
{
	braid -o json status | jq -S 'del(.cores, .jobs[].elapsed_ms, .arrays[].members[].failed_at)'
}

# good TITLE PATTERN WORDS...: exit status 0, and stdout matches.
good()
{
	local title=$1 pattern=$2 status
	shift 2
	braid "$@" >"$dir/out" 2>"$dir/err"
	status=$?
	if [ $status = 0 ] && grep -Eq -- "$pattern" "$dir/out"; then
		pass "$title"
	else
		echo "status $status, expected 0 and /$pattern/" >>"$dir/err"
		fail "$title"
	fi
}

# bad TITLE STATUS PATTERN WORDS...: that exit status, one sentence on stderr that matches, and
# everything as it was.
bad()
{
	local title=$1 expected=$2 pattern=$3 status
	shift 3
	state >"$dir/before" 2>/dev/null
	braid "$@" >"$dir/out" 2>"$dir/err"
	status=$?
	state >"$dir/after" 2>/dev/null
	if [ $status != "$expected" ]; then
		echo "status $status, expected $expected" >>"$dir/err"
		fail "$title"
	elif [ "$(wc -l <"$dir/err")" != 1 ] || ! grep -Eq -- "^braid: .*$pattern" "$dir/err"; then
		echo "expected one line, /$pattern/" >>"$dir/err"
		fail "$title"
	elif ! cmp -s "$dir/before" "$dir/after"; then
		diff "$dir/before" "$dir/after" >>"$dir/err"
		fail "$title: something changed"
	else
		pass "$title"
	fi
}

# json TITLE FILTER WORDS...: jq's filter is true of what -o json prints.
json()
{
	local title=$1 filter=$2
	shift 2
	braid "$@" -o json >"$dir/out" 2>"$dir/err"
	if jq -e "$filter" "$dir/out" >"$dir/jq" 2>>"$dir/err"; then
		pass "$title"
	else
		echo "expected $filter" >>"$dir/err"
		fail "$title"
	fi
}

# nagios TITLE STATUS: what status --check exits with.
nagios()
{
	local status

	braid status --check >"$dir/out" 2>"$dir/err"
	status=$?
	if [ $status = "$2" ]; then
		pass "$1"
	else
		echo "status $status, expected $2" >>"$dir/err"
		fail "$1"
	fi
}

start_daemon()
{
	"$BRAIDD" --run-dir "$dir/run" --state-dir "$dir/state" --cores 0 >"$dir/log" 2>&1 &
	daemon=$!
	for _ in $(seq 100); do
		[ -S "$dir/run/rpc.sock" ] && return
		sleep 0.1
	done
	cat "$dir/log"
	echo "0 passed, 1 failed"
	exit 1
}

article()
{
	local files=$1 drives=d0,d1,d2,d3,d4,d5,d6,d7,d8,d9

	good "article: drive-manager attach" 'd9 +uring' drive-manager attach --ids "$files"
	good "article: drive-manager show" 'NAME.*USED BY' drive-manager show --output table
	good "article: bdev show" '^d0 ' bdev show
	good "article: raid create" '512 MiB usable' raid create --name media6 --level 6 \
		--chunk-size 128 --block-size 4096 --bdevs "$drives" --yes
	good "article: raid show" 'media6 +RAID 6 +optimal +10' raid show
	good "article: bdev_split_create" '8 volumes of 32 MiB: media6p0 to media6p7' \
		bdev_split_create -s 32 media6 8
	good "article: bdev show has the volumes" '^media6p7 ' bdev show
	good "article: vhost create" 'vhost.1: media6p0, cores 0,' vhost create --ctrlr vhost.1 \
		--bdev media6p0 --cpumask 0x1
	good "article: vhost show" '^vhost.1 ' vhost show
	good "status" 'OPTIMAL' status
	good "status --check" '^BRAID OK: media6 optimal$' status --check
}

bad_words()
{
	bad "unknown object" 2 "no command 'foo'" foo
	bad "unknown verb" 2 "has no 'foo': it has list" array foo
	bad "unknown option" 2 "no option '--foo'" array list --foo
	bad "missing value" 2 "--level needs a value" array create x --level
	bad "missing name" 2 "NAME is missing" array create --level 5 --drives a,b,c
	bad "too many words" 2 "'extra' is too much" array list extra
	bad "unknown output form" 2 "not 'foo'" array list -o foo
	bad "unknown column" 2 "no column 'foo'" array list --columns foo
	bad "number that is none" 2 "no whole number" job show x
	bad "raw call with bad JSON" 2 "no JSON object" rpc array.show '{'
	bad "raw call of an unknown method" 2 "no method" rpc foo.bar
}

bad_arrays()
{
	bad "unknown level" 2 "no RAID level '9'" array create x --level 9 --drives free:2 -y
	bad "too few drives" 2 "at least 4|needs" array create x --level 6 --drives r0,r1 -y
	bad "chunk is no power of two" 2 "power of two" \
		array create x --level 0 --drives r0,r1 --chunk 100K -y
	bad "size that is none" 2 "no size" array create x --level 0 --drives r0,r1 --chunk 12Q -y
	bad "drive in use" 4 "in use by array media6" array create x --level 1 --drives d0,r0 -y
	bad "drive named twice" 2 "named twice" array create x --level 1 --drives r0,r0 -y
	bad "unknown drive" 3 "no drive 'nope'" array create x --level 1 --drives nope,r0 -y
	bad "fewer free drives than wanted" 3 "drives are free" \
		array create x --level 0 --drives free:9 -y
	bad "array name taken" 4 "already" array create media6 --level 1 --drives r0,r1 -y
	bad "unusable name" 2 "no usable name" array create 'a b' --level 1 --drives r0,r1 -y
	bad "create without confirmation" 5 "ERASED.*--yes" \
		array create x --level 1 --drives r0,r1
	bad "delete of an exported array" 4 "exported by controller vhost.1" array delete media6 -y
	bad "unknown array" 3 "array.* 'nope'" array show nope
	bad "unknown array in status" 3 "array 'nope'" status nope
	bad "dry run changes nothing" 3 "no drive" array create x --level 1 --drives nope,r0 -n
	bad "fail of an unknown drive" 3 "no drive 'r0'" array fail media6 r0
}

bad_volumes()
{
	bad "volume name taken" 4 "'media6p0' is taken" volume create media6/media6p0 --size 1M
	bad "volume too large" 1 "no room" volume create media6/big --size 10T
	bad "volume without an array" 2 "ARRAY/NAME" volume create big --size 1M
	bad "unknown volume" 3 "no volume 'nope'" volume delete nope -y
	bad "volume of another array" 3 "array other has no volume" volume delete other/media6p7 -y
	bad "volume in use" 4 "exported by controller vhost.1" volume delete media6p0 -y
	bad "volume delete without confirmation" 5 "LOST.*--yes" volume delete media6p7
	bad "split into nothing" 2 "1 to 256" volume split media6 --count 0
	bad "unknown volume to export" 3 "'nope'" vhost create nope
	bad "unknown core" 2 "core 200 " vhost create media6p1 --cores 200
	bad "cores that are none" 2 "no set of cores" vhost create media6p1 --cores x
	bad "socket path too long" 2 "107 bytes" \
		vhost create media6p1 --path "/tmp/$(printf 'x%.0s' {1..120})"
	bad "socket of braidd itself" 2 "braidd itself" \
		vhost create media6p1 --socket "$dir/run/rpc.sock"
	bad "export twice" 4 "in use by controller vhost.1" vhost create media6p0 --name again
	bad "controller name taken" 4 "already" vhost create media6p1 --name vhost.1
	bad "unknown controller" 3 "controller 'nope'" vhost delete nope
}

bad_drives()
{
	bad "drive in use cannot go" 4 "in use by array media6" drive detach d0
	bad "unknown drive to detach" 3 "no drive 'nope'" drive detach nope
	bad "drive name taken" 4 "drive 'r0' already" drive attach ram:r0:64M
	bad "file that is not there" 3 "No such file" drive attach "$dir/nope"
	bad "directory as a drive" 2 "neither a file" drive attach "$dir"
	bad "PCI address" 3 "no PCI device 0000:65:00.0" drive attach 0000:65:00.0
	bad "secret for a drive that asks for none" 2 "is for drives at" drive attach ram:r9:64M --dhchap-secret-file /etc/hostname
	bad "secret that is not there" 3 "--dhchap-secret-file" \
		drive attach nvme+tcp://127.0.0.1:1/nqn.a --dhchap-secret-file "$dir/nope"
	bad "secret in an address" 2 "write the secret into a file" drive attach nvme+tcp://127.0.0.1:1/nqn.a?dhchap-secret=DHHC-1:x
	bad "memory without a size" 2 "ram:NAME:SIZE" drive attach ram:r9
	bad "impossible block size" 2 "512 or 4096" drive attach ram:r9:64M --block-size 1000
	bad "inject without --injectable" 2 "--injectable" drive inject r0 --error
	bad "two faults at once" 2 "do not go together" drive inject r2 --error --flip
}

degraded()
{
	good "array fail" 'degraded' array fail media6 d3
	bad "the same drive again" 4 "already" array fail media6 d3
	good "status says why" 'why: 1 of 10 drives failed: d3' status
	nagios "status --check is 1 when degraded" 1
	good "the second drive" 'degraded' array fail media6 d4
	bad "no redundancy left" 5 "no redundancy left" array fail media6 d5
	bad "no redundancy left, without confirmation" 5 "LOST.*--yes" \
		array fail media6 d5 --allow-failed
	good "no redundancy left, confirmed" 'broken' array fail media6 d5 --allow-failed --yes
	nagios "status --check is 2 when failed" 2
}

json_forms()
{
	local words

	for words in "drive list" "array list" "volume list" "vhost list" "job list" status; do
		# shellcheck disable=SC2086
		json "json: $words" ".output_version.command == \"$words\"" $words
	done
	json "json: sizes are integers" '.arrays[0].bytes == 536870912' array list
	json "json: array show" '.array.members | length == 10' array show media6
	json "json: dry run" '.would_call.method == "array.create" and .plan.usable_bytes > 0' \
		array create x --level 1 --drives r0,r1 -n
	json "json: vhost args" '.variants | length > 0' vhost args vhost.1 --memory 1G
	if braid -o jsonl volume list | jq -es 'length == 8' >/dev/null; then
		pass "jsonl: one object per line"
	else
		fail "jsonl: one object per line"
	fi
	good "columns, raw, no header" "^media6p0$(printf '\t')33554432$" \
		volume list --columns name,bytes -p -H
}

vhost_args()
{
	good "args: QEMU 7.2" 'reconnect=1$|reconnect=1 ' \
		vhost args vhost.1 --memory 8G --qemu-version 7.2
	good "args: QEMU 10.2" 'reconnect-ms=1000' vhost args vhost.1 --memory 8G --qemu-version 10.2
	good "args: Proxmox VE" "^qm set 100 .*bus=pci.2,addr=0x19" \
		vhost args vhost.1 --memory 8G --pve --vmid 100 --qemu-version 9.2
	good "args: hugepages" 'mem-path=/dev/hugepages' vhost args vhost.1 --memory 8G --hugepages \
		--qemu-version 9.2
	good "args: libvirt" "queue_size='256'" vhost args vhost.1 --libvirt --vcpus 4
	bad "args: no memory" 2 "--memory is missing" vhost args vhost.1
}

unequal_drives()
{
	good "unequal drives: the smallest counts, and it says so" 'WARN +.*not equally large' \
		array create odd --level 1 --drives r0,r1 -y
	json "unequal drives: usable size" '.array.bytes == 67108864' array show odd
	good "delete, confirmed" 'array odd deleted' array delete odd --yes
	good "detach" '3 drives detached' drive detach r0 r1 r2
}

no_daemon()
{
	kill "$daemon"
	wait "$daemon" 2>/dev/null
	daemon=
	bad "daemon not running" 6 "braidd is not running" array list
	bad "socket path of braidd too long" 2 "107 bytes" \
		--socket "/tmp/$(printf 'x%.0s' {1..120})" array list
	nagios "status --check is 3 without a daemon" 3
}

export BRAID_SOCKET=$dir/run/rpc.sock
mkdir "$dir/files"
for i in 0 1 2 3 4 5 6 7 8 9; do
	truncate -s 72M "$dir/files/d$i" # 64 MiB of data
done
start_daemon
files=$(printf "%s," "$dir"/files/d?)
article "${files%,}"
good "memory drives" '^r1 +ram +80 MiB' drive attach ram:r0:72M ram:r1:80M
good "injectable drive" '^r2 ' drive attach ram:r2:72M --injectable
good "inject" 'fault injected' drive inject r2 --error --writes --count 3
good "inject nothing" 'no faults' drive inject r2 --clear
bad_words
bad_arrays
bad_volumes
bad_drives
json_forms
vhost_args
unequal_drives
degraded
good "vhost delete" 'controller vhost.1 deleted' vhost delete vhost.1
good "volume delete" 'volume media6p7 deleted' volume delete media6/media6p7 --yes
good "volume create" 'volume db01: 32 MiB on array media6' volume create media6/db01 --size 32M
no_daemon
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
