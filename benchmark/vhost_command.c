/* SPDX-License-Identifier: Apache-2.0 */
/* braid-bench vhost SOCKET: a load over vhost-user, or a look at the device. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/list.h"
#include "base/units.h"
#include "benchmark/commands.h"
#include "benchmark/options.h"
#include "benchmark/report.h"
#include "benchmark/vhost.h"

enum { STALL_MS = 30000 };
#define SPIN_NS 50000ull /* before going to sleep: longer than a fast device takes */

struct vhost_options {
	struct bench_options bench;
	struct vhost_transport_options transport;
};

static struct vhost_options *of(struct bench_options *options)
{
	return container_of(options, struct vhost_options, bench);
}

static int set_queue_size(struct bench_options *options, const char *value, struct fail *fail)
{
	uint64_t size = 0;
	int result = option_number(&size, value, 1, VIRTQUEUE_SIZE_MAX, fail);

	of(options)->transport.queue_size = (unsigned)size;
	return result;
}

static int set_no_event_idx(struct bench_options *options, const char *value, struct fail *fail)
{
	(void)value, (void)fail;
	of(options)->transport.no_event_idx = true;
	return 0;
}

static int set_no_indirect(struct bench_options *options, const char *value, struct fail *fail)
{
	(void)value, (void)fail;
	of(options)->transport.no_indirect = true;
	return 0;
}

static int set_packed(struct bench_options *options, const char *value, struct fail *fail)
{
	(void)value, (void)fail;
	of(options)->transport.packed = true;
	return 0;
}

static int set_hugetlb(struct bench_options *options, const char *value, struct fail *fail)
{
	(void)value, (void)fail;
	of(options)->transport.hugetlb = true;
	return 0;
}

/* clang-format off */
static const struct option_row rows[] = {
	{"queue-size",   "N",  "a power of two; 256 or what the depth needs", set_queue_size},
	{"packed",       NULL, "packed virtqueues; their size may be any", set_packed},
	{"no-event-idx", NULL, "do not negotiate EVENT_IDX", set_no_event_idx},
	{"no-indirect",  NULL, "do not negotiate INDIRECT_DESC", set_no_indirect},
	{"hugetlb",      NULL, "shared memory in 2 MiB pages", set_hugetlb},
	{NULL, NULL, NULL, NULL},
};

static const struct {
	unsigned bit;
	const char *name;
} features[] = {
	{1, "SIZE_MAX"}, {2, "SEG_MAX"}, {4, "GEOMETRY"}, {5, "RO"}, {6, "BLK_SIZE"}, {9, "FLUSH"},
	{10, "TOPOLOGY"}, {11, "CONFIG_WCE"}, {12, "MQ"}, {13, "DISCARD"}, {14, "WRITE_ZEROES"},
	{15, "LIFETIME"}, {16, "SECURE_ERASE"}, {17, "ZONED"}, {24, "NOTIFY_ON_EMPTY"},
	{26, "LOG_ALL"}, {27, "ANY_LAYOUT"}, {28, "INDIRECT_DESC"}, {29, "EVENT_IDX"},
	{30, "PROTOCOL_FEATURES"}, {32, "VERSION_1"}, {33, "ACCESS_PLATFORM"}, {34, "RING_PACKED"},
	{35, "IN_ORDER"}, {36, "ORDER_PLATFORM"}, {40, "RING_RESET"},
}, protocol_features[] = {
	{0, "MQ"}, {1, "LOG_SHMFD"}, {2, "RARP"}, {3, "REPLY_ACK"}, {4, "MTU"}, {5, "BACKEND_REQ"},
	{6, "CROSS_ENDIAN"}, {7, "CRYPTO_SESSION"}, {8, "PAGEFAULT"}, {9, "CONFIG"},
	{10, "BACKEND_SEND_FD"}, {11, "HOST_NOTIFIER"}, {12, "INFLIGHT_SHMFD"},
	{13, "RESET_DEVICE"}, {14, "INBAND_NOTIFICATIONS"}, {15, "CONFIGURE_MEM_SLOTS"},
	{16, "STATUS"}, {17, "XEN_MMAP"}, {18, "SHARED_OBJECT"}, {19, "DEVICE_STATE"},
};
/* clang-format on */

static json_t *json_features(uint64_t offered)
{
	json_t *names = json_array();

	for (unsigned i = 0; i < ARRAY_SIZE(features); i++)
		if (offered & VIRTIO_BIT(features[i].bit))
			json_array_append_new(names, json_string(features[i].name));
	return names;
}

static json_t *json_protocol(uint64_t offered)
{
	json_t *names = json_array();

	for (unsigned i = 0; i < ARRAY_SIZE(protocol_features); i++)
		if (offered & VIRTIO_BIT(protocol_features[i].bit))
			json_array_append_new(names, json_string(protocol_features[i].name));
	return names;
}

/* The config space, member by member. */
static json_t *json_config(const struct virtio_blk_config *config)
{
	return json_pack("{s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:I, "
			 "s:I, s:I, s:i}",
		"capacity_sectors", (json_int_t)le64_get(config->capacity), "size_max",
		(int)le32_get(config->size_max), "seg_max", (int)le32_get(config->seg_max),
		"blk_size", (int)le32_get(config->blk_size), "physical_block_exp",
		(int)config->physical_block_exp, "alignment_offset", (int)config->alignment_offset,
		"min_io_size", (int)le16_get(config->min_io_size), "opt_io_size",
		(int)le32_get(config->opt_io_size), "writeback", (int)config->writeback,
		"num_queues", (int)le16_get(config->num_queues), "unused0", (int)config->unused0,
		"max_discard_sectors", (json_int_t)le32_get(config->max_discard_sectors),
		"max_discard_seg", (json_int_t)le32_get(config->max_discard_seg),
		"discard_sector_alignment", (json_int_t)le32_get(config->discard_sector_alignment),
		"max_write_zeroes_sectors", (json_int_t)le32_get(config->max_write_zeroes_sectors),
		"max_write_zeroes_seg", (json_int_t)le32_get(config->max_write_zeroes_seg),
		"write_zeroes_may_unmap", (int)config->write_zeroes_may_unmap);
}

static void print_names(const char *title, const json_t *names)
{
	size_t i;
	json_t *name;

	printf("%s:", title);
	json_array_foreach(names, i, name) printf(" %s", json_string_value(name));
	putchar('\n');
}

static void print_info(const struct frontend *frontend, bool json)
{
	json_t *info = json_pack("{s:i, s:o, s:o, s:i, s:i, s:o}", "output_version", 1, "features",
		json_features(frontend->offered), "protocol_features",
		json_protocol(frontend->protocol_offered), "queues", (int)frontend->queues_offered,
		"memory_slots", (int)frontend->memory_slots, "config",
		json_config(&frontend->config));
	char size[UNITS_TEXT_BYTES];
	const char *key;
	json_t *value;

	if (json) {
		json_dumpf(info, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
		putchar('\n');
	} else {
		printf("size: %s\n",
			units_print(le64_get(frontend->config.capacity) * VIRTIO_BLK_SECTOR_BYTES,
				size));
		print_names("features", json_object_get(info, "features"));
		print_names("protocol features", json_object_get(info, "protocol_features"));
		printf("queues: %u\nmemory slots: %u\n", frontend->queues_offered,
			frontend->memory_slots);
		json_object_foreach(json_object_get(info, "config"), key, value)
			printf("%s: %lld\n", key, (long long)json_integer_value(value));
	}
	json_decref(info);
}

static int complain(const struct fail *fail, enum bench_exit code)
{
	fprintf(stderr, "braid-bench: %s\n", fail->text);
	return code;
}

static int show_info(const struct vhost_options *options)
{
	struct frontend frontend;
	struct fail fail;
	int result;

	frontend_init(&frontend, 0);
	result = frontend_connect(&frontend, options->transport.path, &fail);
	if (!result)
		result = frontend_negotiate(&frontend, FRONTEND_FEATURES, FRONTEND_PROTOCOL, &fail);
	if (!result)
		print_info(&frontend, options->bench.json);
	frontend_close(&frontend);
	return result ? complain(&fail, BENCH_NO_CONNECTION) : BENCH_OK;
}

static void print_result(const struct vhost_options *options, const struct vhost_transport *vhost,
	const struct load_result *result)
{
	json_int_t kicks = 0, calls = 0;
	struct report report = {
		.transport = "vhost",
		.target = options->transport.path,
		.spec = &options->bench.spec,
		.result = result,
		.latency = options->bench.latency,
	};
	json_t *extra;

	for (unsigned i = 0; i < vhost->frontend.queues; i++) {
		kicks += (json_int_t)vhost->frontend.queue[i].kicks;
		calls += (json_int_t)vhost->frontend.queue[i].calls;
	}
	extra = json_pack("{s:I, s:I, s:i, s:o}", "kicks", kicks, "calls", calls, "queue_size",
		(int)vhost->frontend.queue[0].size, "features",
		json_features(vhost->frontend.features));
	report.extra = extra;
	if (options->bench.json)
		report_json(&report);
	else
		report_text(&report);
	if (!options->bench.json)
		printf("%lld kicks, %lld calls\n", (long long)kicks, (long long)calls);
	json_decref(extra);
}

static int run_load(struct vhost_options *options)
{
	static struct vhost_transport vhost; /* large, and there is one */
	struct bench_options *bench = &options->bench;
	struct load *load;
	struct fail fail;
	int result;

	result = vhost_transport_open(&vhost, &options->transport, &bench->spec, &fail);
	if (result)
		return complain(&fail, result == -EINVAL ? BENCH_USAGE : BENCH_NO_CONNECTION);
	result = load_spec_check(&bench->spec, &vhost.transport, &fail);
	if (!result)
		result = load_create(&load, &bench->spec, &vhost.transport, &fail);
	if (result) {
		vhost_transport_close(&vhost);
		return complain(&fail, result == -EINVAL ? BENCH_USAGE : BENCH_FAILED);
	}
	load_run(load, bench->spin ? UINT64_MAX : SPIN_NS, STALL_MS);
	print_result(options, &vhost, load_result(load));
	result = load_result(load)->problem.error;
	load_destroy(load);
	vhost_transport_close(&vhost);
	return result ? BENCH_FAILED : BENCH_OK;
}

int vhost_command(char **argv)
{
	struct vhost_options options = {0};
	struct fail fail;
	int result = options_parse(&options.bench, rows, argv, &options.transport.path, &fail);

	if (result > 0)
		return BENCH_OK;
	if (!result && !options.transport.path)
		result = fail_set(&fail, EINVAL, "which socket? braid-bench vhost SOCKET");
	if (!result)
		result = options_pin(&options.bench, &fail);
	if (result)
		return complain(&fail, BENCH_USAGE);
	return options.bench.info ? show_info(&options) : run_load(&options);
}
