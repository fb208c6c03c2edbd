/* SPDX-License-Identifier: Apache-2.0 */
#include "control/methods.h"
#include "parity/parity.h"
#include "reactor/reactor.h"

METHOD(version_get)
{
	(void)daemon, (void)params, (void)fail;
	*result = json_pack(
		"{s:s, s:s}", "version", BRAID_VERSION, "parity_kernel", parity_selected());
	return 0;
}

static json_t *cores_json(const struct daemon *daemon)
{
	json_t *cores = json_array();

	for (unsigned i = 0; i < reactor_count(daemon->group); i++) {
		const struct reactor *reactor = reactor_at(daemon->group, i);
		struct reactor_usage usage;

		reactor_usage(reactor, &usage);
		json_array_append_new(cores,
			json_pack("{s:i, s:I, s:I, s:I, s:I}", "core", (int)reactor_core(reactor),
				"busy_ns", (json_int_t)usage.busy_ns, "idle_ns",
				(json_int_t)usage.idle_ns, "sleep_ns", (json_int_t)usage.sleep_ns,
				"sleeps", (json_int_t)usage.sleeps));
	}
	return cores;
}

METHOD(status_get)
{
	static int (*const parts[])(struct daemon *, const json_t *, json_t **, struct fail *) = {
		drive_list, array_list, volume_list, vhost_list, job_list};
	json_t *all;
	int error = version_get(daemon, params, &all, fail);

	json_object_set_new(all, "cores", cores_json(daemon));
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]) && !error; i++) {
		json_t *part;

		error = parts[i](daemon, params, &part, fail);
		if (!error)
			json_object_update_new(all, part);
	}
	*result = all;
	return error;
}
