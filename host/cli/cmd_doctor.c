/* cmd_doctor.c - mneme doctor: what this machine offers, and why CUDA is or is not used. */
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/fields.h"
#include "mneme/comm.h"
#include "mneme/device.h"
#include "mneme/version.h"

#include <string.h>

typedef struct doctor_options {
    bool json;
} doctor_options;

static const mn_option rows[] = {
    MN_OPT_FLAG(doctor_options, json, "false", "one JSON object"),
};

/* All that is printed. A machine has no more devices than anyone wants to read of. */
enum { MAX_GPUS = 16 };
typedef struct findings {
    char cpu[128];
    mn_cuda_state cuda;
    char gpus[MAX_GPUS][128];
    int gpu_count;
    mn_mpi_state mpi;
} findings;

static mn_status examine(findings *f, int threads) {
    mn_device *cpu = NULL;
    *f = (findings){0};
    MN_TRY(mn_device_open(&cpu, "cpu", threads));
    memcpy(f->cpu, cpu->description, sizeof f->cpu);
    mn_device_close(&cpu);
    mn_mpi_probe(&f->mpi);
    if (!mn_cuda_probe(&f->cuda)) return MN_OK;
    f->gpu_count = f->cuda.devices < MAX_GPUS ? f->cuda.devices : MAX_GPUS;
    for (int i = 0; i < f->gpu_count; i++)
        MN_TRY(mn_cuda_device_text(f->gpus[i], sizeof f->gpus[i], i));
    return MN_OK;
}

static const char *or_none(const char *text) { return text[0] ? text : "none"; }

static mn_status print_text(mn_buf *out, const findings *f) {
    const mn_cuda_state *c = &f->cuda;
    MN_TRY(mn_buf_printf(out, "mneme     %s\n%s\n", MNEME_VERSION, f->cpu));
    MN_TRY(mn_buf_printf(out, "CUDA      %s\n", c->devices > 0 ? "can be used" : "is not used"));
    if (c->why[0]) MN_TRY(mn_buf_printf(out, "  because %s\n", c->why));
    MN_TRY(mn_buf_printf(out, "  driver  %s\n", or_none(c->driver)));
    MN_TRY(mn_buf_printf(out, "  backend %s\n", or_none(c->plugin)));
    if (c->libraries[0]) MN_TRY(mn_buf_printf(out, "  runtime %s\n", c->libraries));
    for (int i = 0; i < f->gpu_count; i++)
        MN_TRY(mn_buf_printf(out, "  cuda:%-2d %s\n", i, f->gpus[i]));
    const mn_mpi_state *m = &f->mpi;
    MN_TRY(mn_buf_printf(out, "MPI       %s\n", m->why[0] ? "is not there" : "can be used"));
    if (m->why[0]) MN_TRY(mn_buf_printf(out, "  because %s\n", m->why));
    else MN_TRY(mn_buf_printf(out, "  library %s\n", m->library));
    if (m->launcher[0])
        MN_TRY(mn_buf_printf(out, "  started %d times by %s\n", m->started, m->launcher));
    return mn_buf_printf(out, "--device auto takes %s\n", c->devices > 0 ? "cuda:0" : "cpu");
}

static mn_status print_json(mn_buf *out, const findings *f) {
    const mn_cuda_state *c = &f->cuda;
    MN_TRY(mn_buf_puts(out, "{"));
    MN_TRY(mn_field_text(out, "mneme", MNEME_VERSION));
    MN_TRY(mn_field_text(out, "cpu", f->cpu));
    MN_TRY(mn_field_object(out, "cuda"));
    MN_TRY(mn_field_bool(out, "usable", c->devices > 0));
    MN_TRY(mn_field_text(out, "why", c->why[0] ? c->why : NULL));
    MN_TRY(mn_field_text(out, "driver", c->driver[0] ? c->driver : NULL));
    MN_TRY(mn_field_text(out, "backend", c->plugin[0] ? c->plugin : NULL));
    MN_TRY(mn_field_text(out, "libraries", c->libraries[0] ? c->libraries : NULL));
    MN_TRY(mn_record_key(out, "devices"));
    MN_TRY(mn_buf_puts(out, "["));
    for (int i = 0; i < f->gpu_count; i++) {
        MN_TRY(mn_field_next(out));
        MN_TRY(mn_json_quote(out, f->gpus[i], strlen(f->gpus[i])));
    }
    MN_TRY(mn_buf_puts(out, "]}"));
    const mn_mpi_state *m = &f->mpi;
    MN_TRY(mn_field_object(out, "mpi"));
    MN_TRY(mn_field_bool(out, "usable", !m->why[0]));
    MN_TRY(mn_field_text(out, "why", m->why[0] ? m->why : NULL));
    MN_TRY(mn_field_text(out, "plugin", m->plugin[0] ? m->plugin : NULL));
    MN_TRY(mn_field_text(out, "library", m->library[0] ? m->library : NULL));
    MN_TRY(mn_field_text(out, "launcher", m->launcher[0] ? m->launcher : NULL));
    MN_TRY(mn_buf_puts(out, "}"));
    MN_TRY(mn_field_text(out, "auto", c->devices > 0 ? "cuda:0" : "cpu"));
    return mn_buf_puts(out, "}\n");
}

static mn_status run(const mn_cli *cli, const void *options) {
    const doctor_options *o = options;
    findings f;
    mn_buf out = {0};
    mn_status st = examine(&f, (int)cli->common.threads);
    if (st == MN_OK) st = o->json ? print_json(&out, &f) : print_text(&out, &f);
    if (st == MN_OK) st = mn_print(&out);
    mn_buf_free(&out);
    return st;
}

static const mn_command command = {
    .name = "doctor",
    .about =
        "Shows what this machine offers to compute with: the processor, the GPUs and why a GPU "
        "is not used when it is not, and the MPI that brings several processes together.",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
    .examples = {"mneme doctor", "mneme doctor --json", "mneme doctor --threads 4"},
    .run = run,
};

mn_status mn_cmd_doctor(int argc, char **argv) {
    doctor_options options;
    return mn_command_main(&command, &options, argc, argv);
}
