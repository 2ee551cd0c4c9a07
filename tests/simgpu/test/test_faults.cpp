/* test_faults.cpp PTX - every planted fault of faults.cu is reported, its mended twin is not; and the
 * faults that a launch or a host call can have. */
#include "harness.h"

using namespace test;

namespace {

sg_module *module;

bool reported(const char *what) {
    for (int i = 0; i < sg_report_count(); i++)
        if (std::string(sg_report(i, nullptr, nullptr)).find(what) != std::string::npos)
            return true;
    return false;
}

/* in: 128 floats that exist; out: 256 floats that are not set. */
void run(const std::string &kernel, unsigned threads = 128) {
    Device<float> in(std::vector<float>(128, 0.5f)), out(256);
    void *args[] = {&out.address, &in.address};
    sg_clear_reports();
    sg_launch(module, kernel.c_str(), {2, 1, 1}, {threads, 1, 1}, 128 * sizeof(float), args);
}

struct Twins {
    const char *name, *report;
    bool one_block; /* both blocks of the launch write the same elements */
};

void run_one_block(const std::string &kernel) {
    Device<float> in(std::vector<float>(128, 0.5f)), out(128);
    void *args[] = {&out.address, &in.address};
    sg_clear_reports();
    sg_launch(module, kernel.c_str(), {1, 1, 1}, {128, 1, 1}, 128 * sizeof(float), args);
}

const Twins twins[] = {
    {"race", "shared-memory race: read-after-write", true},
    {"race_reuse", "shared-memory race: write-after-read", true},
    {"race_same", "shared-memory race (same value)", true},
    {"lanes_collide", "two lanes of one instruction write different values", true},
    {"missing_syncwarp", "warp-level hazard", true},
    {"uninitialised_shared", "uninitialised read: shared", true},
    {"uninitialised_global", "uninitialised read: global", true},
    {"past_the_end", "out of bounds: global read", true},
    {"before_the_start", "out of bounds: global write", true},
    {"past_shared", "out of bounds: shared write", true},
    {"misaligned", "misaligned address", true},
    {"null_pointer", "null pointer", true},
    {"skipped_barrier", "barrier after partial exit", true},
    {"divergent_barrier", "divergent barrier", true},
    {"deadlock", "deadlock", true},
    {"disagreeing_barrier", "threads disagree about the barrier", true},
    {"barrier_after_exit", "barrier after partial exit", true},
    {"copy_not_awaited", "in-flight cp.async", true},
    {"wrong_group_awaited", "in-flight cp.async", true},
    {"copy_at_exit", "cp.async not waited for", true},
    {"member_mask", "membermask", true},
    {"shuffle_inactive", "shuffle from inactive lane", true},
    {"partial_warp", "partial warp", true},
    {"cross_block", "cross-block race", false},
    {"stale_read_only", "non-coherent load of written data", true},
    {"write_constant", "write to constant memory", true},
    {"endless", "instruction limit", true},
    {"assertion", "device assert", true},
};

void kernels() {
    for (const Twins &t : twins) {
        for (const int seed : {0, 1, 2}) {
            sg_option("schedule_seed", seed);
            const std::string name = t.name;
            const auto go = [&](const std::string &kernel) {
                t.one_block ? run_one_block(kernel) : run(kernel);
            };
            go(name + "_fault");
            check(reported(t.report), name + "_fault is reported as '" + t.report + "'", reports());
            check(reported("faults.cu:") || !strcmp(t.name, "deadlock"),
                  name + "_fault names file and line", reports());
            go(name + "_mended");
            check(sg_report_count() == 0, name + "_mended is not reported", reports());
        }
        sg_option("schedule_seed", 0);
    }
}

void expect(const char *what, const char *report, const std::function<void()> &fault,
            const std::function<void()> &mended) {
    sg_clear_reports();
    fault();
    check(reported(report), std::string(what) + " is reported as '" + report + "'", reports());
    sg_clear_reports();
    mended();
    check(sg_report_count() == 0, std::string("no ") + what + ", no report", reports());
}

int launch(u64 out, u64 in, sg_dim3 grid, sg_dim3 block, size_t shared) {
    void *args[] = {&out, &in};
    return sg_launch(module, "plain_fault", grid, block, shared, args);
}

void launches_and_host_calls() {
    Device<float> in(std::vector<float>(128, 1.f)), out(128);
    const auto good = [&] { launch(out.address, in.address, {1, 1, 1}, {128, 1, 1}, 0); };
    expect(
        "block above its launch bounds", "__launch_bounds__ says 128",
        [&] {
            launch(out.address, in.address, {1, 1, 1}, {256, 1, 1}, 0);
        },
        good);
    expect(
        "grid of no blocks", "invalid launch",
        [&] {
            launch(out.address, in.address, {0, 1, 1}, {128, 1, 1}, 0);
        },
        good);
    expect(
        "more shared memory than there is", "bytes of shared memory",
        [&] {
            launch(out.address, in.address, {1, 1, 1}, {128, 1, 1}, 240000);
        },
        good);
    float host[128] = {};
    expect(
        "host pointer", "not device memory",
        [&] {
            launch(out.address, (u64)host, {1, 1, 1}, {128, 1, 1}, 0);
        },
        good);
    const u64 freed = sg_malloc(512);
    sg_fill(freed, 0, 512);
    sg_free(freed);
    expect(
        "use after free", "inside the freed block",
        [&] {
            launch(out.address, freed, {1, 1, 1}, {128, 1, 1}, 0);
        },
        good);
    expect(
        "second free", "free of", [&] { sg_free(freed); }, [] { sg_free(sg_malloc(16)); });
    expect(
        "copy past the end", "out of bounds: copy to device",
        [&] { sg_copy_in(in.address + 4, host, 512); }, [&] { sg_copy_in(in.address, host, 512); });
    expect(
        "copy of nothing", "uninitialised read: copy to host",
        [&] {
            Device<float> unset(4);
            sg_copy_out(host, unset.address, 16);
        },
        [&] { sg_copy_out(host, in.address, 16); });
}

/* Blocks of one launch may read what a later launch writes. */
void launches_are_ordered() {
    Device<float> in(std::vector<float>(128, 1.f)), out(256);
    void *reads[] = {&out.address, &in.address}, *writes[] = {&in.address, &out.address};
    sg_clear_reports();
    sg_launch(module, "cross_block_mended", {2, 1, 1}, {128, 1, 1}, 0, reads);
    sg_launch(module, "plain_mended", {1, 1, 1}, {128, 1, 1}, 0, writes);
    check(sg_report_count() == 0, "a launch writes what an earlier one read", reports());
}

/* Options change what is looked for. */
void options() {
    const struct {
        const char *option, *kernel;
    } off[] = {{"check_init", "uninitialised_shared"},
               {"check_race", "race_reuse"},
               {"check_race_warp", "missing_syncwarp"},
               {"lazy_cp_async", "copy_at_exit"}};
    for (const auto &o : off) {
        sg_option(o.option, 0);
        run_one_block(std::string(o.kernel) + "_fault");
        check(sg_report_count() == 0, std::string("without ") + o.option, reports());
        sg_option(o.option, 1);
    }
    sg_option("check_race_global", 0);
    run("cross_block_fault");
    check(sg_report_count() == 0, "without check_race_global", reports());
    sg_option("check_race_global", 1);
    check(sg_option("no_such_option", 1) == -1, "an unknown option");
    check(sg_option("fail", 1) == 0, "a known option");

    char message[200];
    check(!sg_load(".version 8.0\n.target sm_80\nrubbish", message, sizeof message),
          "rubbish does not load");
    sg_module *unknown = load(kernel_text("frobnicate.b32 %r32, %a32;", "32"));
    int count;
    sg_clear_reports();
    check(sg_kernel_params(unknown, "k", &count, nullptr) == SG_CANNOT_RUN &&
              reported("unsupported instruction: frobnicate"),
          "an unknown opcode is named", reports());
    sg_unload(unknown);
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    sg_option("print", 0);
    sg_option("max_insts", 100000);
    module = load_file(argv[1]);
    kernels();
    launches_and_host_calls();
    launches_are_ordered();
    options();
    return finish("faults");
}
