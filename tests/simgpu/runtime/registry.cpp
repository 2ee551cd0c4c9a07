/* registry.cpp - what nvcc's host code registers: fat binaries with PTX inside, kernels, variables. */
#include "runtime.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

namespace sg {
namespace {

struct Binary {
    sg_module *module = nullptr;
};
struct Tables {
    std::map<const void *, Registered> kernels, variables;
};
/* Made at the first registration, which comes before other static objects may exist. */
Tables &tables() {
    static Tables *t = new Tables;
    return *t;
}

struct Wrapper { /* what __cudaRegisterFatBinary gets */
    unsigned magic, version;
    const unsigned char *data;
    void *unused;
};
constexpr unsigned WRAPPER_MAGIC = 0x466243b1, BINARY_MAGIC = 0xba55ed50;
constexpr unsigned KIND_PTX = 1;

[[noreturn]] void give_up(const char *text) {
    fprintf(stderr, "simgpu: %s\n", text);
    abort();
}

template <class T> T read_at(const unsigned char *p, size_t offset) {
    T v;
    memcpy(&v, p + offset, sizeof v);
    return v;
}

/* A header (magic, version, header bytes, bytes) and entries, each with its own header. */
void load_binary(const unsigned char *p, Binary *binary) {
    if (read_at<unsigned>(p, 0) != BINARY_MAGIC) give_up("a fat binary of an unknown format");
    const unsigned short header = read_at<unsigned short>(p, 6);
    const unsigned char *end = p + header + read_at<uint64_t>(p, 8);
    unsigned best = 0;
    for (p += header; p < end; p += read_at<unsigned>(p, 4) + read_at<uint64_t>(p, 8)) {
        const unsigned arch = read_at<unsigned>(p, 28);
        if (read_at<unsigned short>(p, 0) != KIND_PTX || (binary->module && arch > best)) continue;
        const std::string padded((const char *)p + read_at<unsigned>(p, 4),
                                 read_at<uint64_t>(p, 8));
        const std::string text = padded.c_str();
        if (text.find(".version") == std::string::npos)
            give_up("the PTX is compressed: build with nvcc --no-compress");
        char message[512];
        sg_module *module = sg_load(text.c_str(), message, sizeof message);
        if (!module) give_up((std::string("cannot load the PTX: ") + message).c_str());
        sg_unload(binary->module);
        binary->module = module; /* the lowest architecture: it has the plainest instructions */
        best = arch;
    }
    if (!binary->module)
        give_up("no PTX in the binary: build with nvcc -gencode arch=compute_80,code=compute_80");
}

} // namespace

Registered *kernel_of(const void *f) {
    const auto found = tables().kernels.find(f);
    return found == tables().kernels.end() ? nullptr : &found->second;
}
Registered *variable_of(const void *v) {
    const auto found = tables().variables.find(v);
    return found == tables().variables.end() ? nullptr : &found->second;
}

} // namespace sg

using namespace sg;

extern "C" {

void **__cudaRegisterFatBinary(void *wrapper) {
    Lock lock;
    start_runtime();
    const Wrapper *w = (const Wrapper *)wrapper;
    if (w->magic != WRAPPER_MAGIC) give_up("a fat binary of an unknown format");
    Binary *binary = new Binary;
    load_binary(w->data, binary);
    return (void **)binary;
}
void __cudaRegisterFatBinaryEnd(void **) {}
void __cudaUnregisterFatBinary(void **) {} /* kernels may still be in queues */
char __cudaInitModule(void **) { return 1; }

void __cudaRegisterFunction(void **handle, const char *host, char *, const char *name, int, uint3 *,
                            uint3 *, dim3 *, dim3 *, int *) {
    Lock lock;
    tables().kernels[host] = {((Binary *)handle)->module, name, {}};
}
void __cudaRegisterVar(void **handle, char *host, char *, const char *name, int, size_t, int, int) {
    Lock lock;
    tables().variables[host] = {((Binary *)handle)->module, name, {}};
}

cudaError_t cudaGetSymbolAddress(void **address, const void *symbol) {
    Lock lock;
    uint64_t a;
    const Registered *v = variable_of(symbol);
    if (!v || sg_symbol(v->module, v->name.c_str(), &a, nullptr))
        return remember(cudaErrorInvalidSymbol);
    *address = (void *)a;
    return cudaSuccess;
}
cudaError_t cudaGetSymbolSize(size_t *bytes, const void *symbol) {
    Lock lock;
    const Registered *v = variable_of(symbol);
    if (!v || sg_symbol(v->module, v->name.c_str(), nullptr, bytes))
        return remember(cudaErrorInvalidSymbol);
    return cudaSuccess;
}
}
