/* machine.cpp - a launch, block by block, and where a report says that something happened. */
#include "machine.h"

namespace sg {

namespace {
u32 last_block_serial; /* over all launches */
u32 launches;
constexpr size_t SHARED_LIMIT = 227 * 1024;
constexpr u32 CLOCK_LIMIT = 3000000000u; /* times start anew before they overflow */
} // namespace

Machine::Machine(sg_module &m, Kernel &k) : module(m), kernel(k) {}

u32 Machine::random() {
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)(random_state >> 33);
}

std::string Machine::where(int lane) const {
    std::string text = "kernel " + kernel.name;
    if (warp) {
        const u32 t = warp->id * LANES + (u32)std::max(lane, 0);
        text += format(" block (%u,%u,%u)", cta.x, cta.y, cta.z);
        if (lane < 0) text += format(" warp %u", warp->id);
        else
            text += format(" thread (%u,%u,%u)", t % block.x, t / block.x % block.y,
                           t / block.x / block.y);
    }
    if (inst) {
        const Origin &o = kernel.origin[(size_t)(inst - kernel.code.data())];
        const auto file = module.files.find(o.file);
        if (o.line)
            text += format(" at %s:%d", file == module.files.end() ? "?" : file->second.c_str(),
                           o.line);
        text += " [" + o.text + "]";
    }
    return text;
}

void Machine::report(bool is_error, const char *kind, int lane, const std::string &message) {
    const long pc = inst ? inst - kernel.code.data() : -1;
    std::string key = std::string(kind) + "/" + kernel.name + "/" + std::to_string(pc);
    if (lane < 0) key += message;
    if (!repeat_report(key))
        add_report(is_error, key, std::string(kind) + ": " + message + "; " + where(lane));
}

int Machine::check(sg_dim3 g, sg_dim3 b, size_t dynamic) {
    grid = g;
    block = b;
    dynamic_bytes = dynamic;
    const u64 threads = (u64)b.x * b.y * b.z;
    std::string wrong;
    if (!threads || threads > 1024 || b.z > 64 || !g.x || !g.y || !g.z || g.x > 0x7fffffff ||
        g.y > 65535 || g.z > 65535)
        wrong = format("grid (%u,%u,%u) block (%u,%u,%u)", g.x, g.y, g.z, b.x, b.y, b.z);
    else if ((kernel.max_threads && threads > (u64)kernel.max_threads) ||
             (kernel.required_threads && threads != (u64)kernel.required_threads))
        wrong = format("block of %llu threads, __launch_bounds__ says %d",
                       (unsigned long long)threads,
                       kernel.max_threads ? kernel.max_threads : kernel.required_threads);
    else if (kernel.shared_bytes + dynamic > SHARED_LIMIT)
        wrong = format("%zu bytes of shared memory", kernel.shared_bytes + dynamic);
    if (wrong.empty()) return 0;
    wrong = "invalid launch: kernel " + kernel.name + " " + wrong;
    add_report(true, wrong, wrong);
    return SG_BAD_LAUNCH;
}

int Machine::launch(void **args) {
    params.assign(kernel.param_total + 16, 0);
    for (size_t i = 0; i < kernel.param_bytes.size(); i++)
        memcpy(params.data() + kernel.param_offset[i], args[i], kernel.param_bytes[i]);
    shared_total = kernel.dynamic_shared || dynamic_bytes ? kernel.dynamic_offset + dynamic_bytes
                                                          : kernel.shared_bytes;
    shared.resize(shared_total + 64);
    shared_state.resize(shared_total + 64);
    if (options.check_race) cells.resize((shared_total >> kernel.shared_granule_shift) + 2);
    first_serial = last_block_serial + 1;
    random_state = (u64)options.schedule_seed * 2654435761u + 1;
    launches++;
    stats = sg_stats{};
    const u64 before = error_occurrences();
    const bool backwards = options.schedule_seed > 1 && options.schedule_seed % 2;
    for (u32 z = 0; z < grid.z && !aborted; z++)
        for (u32 y = 0; y < grid.y && !aborted; y++)
            for (u32 x = 0; x < grid.x && !aborted; x++) {
                cta = {x, y, z};
                if (backwards) cta = {grid.x - 1 - x, grid.y - 1 - y, grid.z - 1 - z};
                run_block();
            }
    return (int)std::min<u64>(error_occurrences() - before, 1000000);
}

void Machine::start_block() {
    const u32 threads = block.x * block.y * block.z, count = (threads + LANES - 1) / LANES;
    block_serial = ++last_block_serial;
    std::fill(shared_state.begin(), shared_state.end(), (u8)0);
    std::fill(shared.begin(), shared.end(), (u8)0xFF);
    if (clock_base > CLOCK_LIMIT) {
        std::fill(cells.begin(), cells.end(), SharedCell{});
        clock_base = 0;
    }
    warps.resize(count);
    clocks.assign((size_t)count * count, clock_base);
    for (auto &b : barriers) b = NamedBarrier();
    for (u32 i = 0; i < count; i++) {
        Warp &w = warps[i];
        const u32 lanes = std::min<u32>(LANES, threads - i * LANES);
        w.id = i;
        w.full = w.alive = lanes == LANES ? ~0u : (1u << lanes) - 1;
        w.splits.assign(1, Split());
        w.splits[0].mask = w.full;
        w.registers.assign(kernel.register_bytes / 8 + 16, 0);
        w.file = (u8 *)(((u64)w.registers.data() + 63) & ~63ull);
        w.local.assign(kernel.local_bytes * LANES, 0xFF);
        w.copies.resize(LANES);
        w.done = false;
        clock(i, i) = clock_base + 1;
        fill_specials(w);
    }
    stats.blocks++;
    stats.warps += count;
}

void Machine::fill_specials(Warp &w) {
    for (const auto &[special, row] : kernel.specials)
        for (u32 lane = 0; lane < LANES; lane++) {
            const u32 t = w.id * LANES + lane, bit = 1u << lane;
            u64 v = 0;
            switch (special) {
            case TID_X: v = t % block.x; break;
            case TID_Y: v = t / block.x % block.y; break;
            case TID_Z: v = t / block.x / block.y; break;
            case NTID_X: v = block.x; break;
            case NTID_Y: v = block.y; break;
            case NTID_Z: v = block.z; break;
            case CTAID_X: v = cta.x; break;
            case CTAID_Y: v = cta.y; break;
            case CTAID_Z: v = cta.z; break;
            case NCTAID_X: v = grid.x; break;
            case NCTAID_Y: v = grid.y; break;
            case NCTAID_Z: v = grid.z; break;
            case LANEID: v = lane; break;
            case WARPID: v = w.id; break;
            case NWARPID: v = warps.size(); break;
            case NSMID: v = 1; break;
            case GRIDID: v = launches; break;
            case LANEMASK_EQ: v = bit; break;
            case LANEMASK_LT: v = bit - 1; break;
            case LANEMASK_LE: v = bit | (bit - 1); break;
            case LANEMASK_GE: v = ~(bit - 1); break;
            case LANEMASK_GT: v = ~(bit | (bit - 1)); break;
            case DYNAMIC_SMEM: v = dynamic_bytes; break;
            case TOTAL_SMEM: v = shared_total; break;
            default: break;
            }
            if (special_is_wide(special)) ((u64 *)(w.file + row))[lane] = v;
            else ((u32 *)(w.file + row))[lane] = (u32)v;
        }
}

void Machine::report_deadlock() {
    std::string text = "no thread can go on:";
    int listed = 0;
    for (const Warp &w : warps)
        for (const Split &s : w.splits)
            if (listed++ < 6)
                text += format(" warp %u lanes 0x%08x wait at [%s]", w.id, s.mask,
                               kernel.origin[(size_t)s.pc].text.c_str());
    warp = &warps[0];
    inst = nullptr;
    report(true, "deadlock", -1, text);
    aborted = true;
}

void Machine::run_block() {
    start_block();
    std::vector<u32> order(warps.size());
    bool left = true;
    while (left && !aborted) {
        for (u32 i = 0; i < order.size(); i++) order[i] = i;
        if (options.schedule_seed)
            for (u32 i = (u32)order.size(); i > 1; i--)
                std::swap(order[i - 1], order[random() % i]);
        bool moved = false;
        left = false;
        for (const u32 i : order) {
            Warp &w = warps[i];
            if (w.done) continue;
            left = true;
            const bool ready = std::any_of(w.splits.begin(), w.splits.end(),
                                           [](const Split &s) { return s.state == Split::READY; });
            if (!ready) continue;
            moved = true;
            run_warp(w, options.schedule_seed ? 1 + random() % 64 : options.quantum);
            if (aborted) break;
        }
        if (left && !moved && !aborted) report_deadlock();
    }
    for (u32 i = 0; i < warps.size(); i++) clock_base = std::max(clock_base, clock(i, i));
    for (Warp &w : warps) /* of an aborted block */
        for (LaneCopies &c : w.copies) c = LaneCopies();
    warp = nullptr;
    inst = nullptr;
}

} // namespace sg

using namespace sg;

namespace {
void set_message(char *to, size_t size, const char *text) {
    if (to && size) snprintf(to, size, "%s", text);
}

/* Runs f and turns an Error into a report and a code. */
template <class F> int guarded(const char *kernel, F f) {
    try {
        return f();
    } catch (const std::exception &e) {
        const std::string text = std::string(e.what()) + "; kernel " + kernel;
        add_report(true, text, text);
        return SG_CANNOT_RUN;
    }
}
} // namespace

extern "C" {

sg_module *sg_load(const char *ptx, char *err, size_t err_size) {
    auto module = std::make_unique<sg_module>();
    try {
        parse_module(*module, ptx);
        return module.release();
    } catch (const std::exception &e) {
        set_message(err, err_size, e.what());
        return nullptr;
    }
}

sg_module *sg_load_file(const char *path, char *err, size_t err_size) {
    std::string text;
    FILE *f = fopen(path, "rb");
    if (!f) {
        set_message(err, err_size, format("cannot open %s", path).c_str());
        return nullptr;
    }
    char buffer[65536];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, f)) > 0;) text.append(buffer, n);
    fclose(f);
    return sg_load(text.c_str(), err, err_size);
}

void sg_unload(sg_module *module) { delete module; }
int sg_kernel_count(const sg_module *module) { return (int)module->kernel_names.size(); }
const char *sg_kernel_name(const sg_module *module, int i) {
    return module->kernel_names[(size_t)i].c_str();
}

int sg_kernel_params(sg_module *module, const char *kernel, int *count, size_t *sizes) {
    return guarded(kernel, [&] {
        const Kernel &k = kernel_named(*module, kernel);
        *count = (int)k.param_bytes.size();
        if (sizes) std::copy(k.param_bytes.begin(), k.param_bytes.end(), sizes);
        return 0;
    });
}

int sg_kernel_limits(sg_module *module, const char *kernel, size_t *shared, int *max_threads) {
    return guarded(kernel, [&] {
        const Kernel &k = kernel_named(*module, kernel);
        *shared = k.shared_bytes;
        *max_threads = k.max_threads ? k.max_threads : k.required_threads;
        return 0;
    });
}

int sg_check_launch(sg_module *module, const char *kernel, sg_dim3 grid, sg_dim3 block,
                    size_t dynamic) {
    return guarded(kernel, [&] {
        return Machine(*module, kernel_named(*module, kernel)).check(grid, block, dynamic);
    });
}

int sg_launch(sg_module *module, const char *kernel, sg_dim3 grid, sg_dim3 block, size_t dynamic,
              void **args) {
    return guarded(kernel, [&] {
        Machine machine(*module, kernel_named(*module, kernel));
        const int bad = machine.check(grid, block, dynamic);
        return bad ? bad : machine.launch(args);
    });
}

int sg_symbol(sg_module *module, const char *name, uint64_t *address, size_t *bytes) {
    const auto v = module->variables.find(name);
    if (v == module->variables.end() || v->second.space == Space::SHARED) return -1;
    if (address) *address = v->second.address;
    if (bytes) *bytes = v->second.bytes;
    return 0;
}
}
