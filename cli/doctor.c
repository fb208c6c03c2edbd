/* SPDX-License-Identifier: Apache-2.0 */
/* braid doctor: looks at this host by itself; no daemon is needed. */
#include <stdio.h>
#include <string.h>

#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/output.h"
#include "host/doctor.h"

static const char *verdict_color(enum doctor_verdict verdict, bool color)
{
	static const char *const states[] = {
		[DOCTOR_OK] = "online", [DOCTOR_ADVICE] = "degraded", [DOCTOR_MISSING] = "failed"};

	return state_color(states[verdict], color);
}

/* The lines of a fix, each behind the same margin. */
static void print_fix(const char *fix)
{
	while (*fix) {
		size_t length = strcspn(fix, "\n");

		printf("%22s%.*s\n", "", (int)length, fix);
		fix += length + (fix[length] == '\n');
	}
}

static void print_findings(
	const struct cli *cli, const struct doctor_finding *findings, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct doctor_finding *finding = &findings[i];

		if (cli->quiet && finding->verdict == DOCTOR_OK)
			continue;
		printf("%s%-7s%s  %-11s  %s\n", verdict_color(finding->verdict, cli->color),
			doctor_verdict_name(finding->verdict), color_end(cli->color),
			finding->check, finding->found);
		print_fix(finding->fix);
	}
}

HANDLER(doctor_run)
{
	struct doctor_finding findings[DOCTOR_FINDINGS_MAX];
	AUTO_JSON json_t *list = json_array(), *members = NULL;
	size_t count = doctor_look(findings), missing = 0;

	(void)fail;
	for (size_t i = 0; i < count; i++) {
		missing += findings[i].verdict == DOCTOR_MISSING;
		text_disarm(findings[i].found);
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s}", "check", findings[i].check,
				      "verdict", doctor_verdict_name(findings[i].verdict), "found",
				      findings[i].found, "fix", findings[i].fix));
	}
	cli->status = missing ? EXIT_FAILED : EXIT_OK;
	if (output_is_json(cli)) {
		members = json_pack("{s:O}", "findings", list);
		output_json(cli, members);
		return 0;
	}
	print_findings(cli, findings, count);
	if (!cli->quiet && missing)
		printf("%zu missing\n", missing);
	return 0;
}
