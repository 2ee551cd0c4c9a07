/* file.c - mapped reading, folders, paths, SHA-256. Atomic replacement is in writer.c. */
#include "mneme/file.h"

#include "mneme/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

mn_status mn_map_open(mn_map **out, const char *path) {
    mn_status st = MN_OK;
    mn_map *map = NULL;
    void *data = MAP_FAILED;
    struct stat info;
    *out = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0) {
        st = mn_fail_errno(path);
        goto done;
    }
    MN_CHECK_GOTO(S_ISREG(info.st_mode), MN_ERR_IO, "%s: not a regular file", path);
    map = calloc(1, sizeof *map);
    MN_CHECK_GOTO(map && (map->path = strdup(path)), MN_ERR_MEMORY, "%s: no memory", path);
    map->size = (size_t)info.st_size;
    if (map->size > 0) {
        data = mmap(NULL, map->size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) {
            st = mn_fail_errno(path);
            goto done;
        }
        map->data = data;
    }
    *out = map;
    map = NULL;
done:
    if (map) {
        free(map->path);
        free(map);
    }
    if (fd >= 0) close(fd);
    return st;
}

void mn_map_close(mn_map **map) {
    if (!*map) return;
    if ((*map)->size > 0) munmap((void *)(uintptr_t)(*map)->data, (*map)->size);
    free((*map)->path);
    free(*map);
    *map = NULL;
}

void mn_release_pages(const void *memory, size_t bytes) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)memory;
    const uintptr_t first = (begin + page - 1) / page * page, end = (begin + bytes) / page * page;
    if (first < end) madvise((void *)first, end - first, MADV_DONTNEED);
}

double mn_memory_available(void) {
    char line[256];
    double kilobytes = 1e15;
    FILE *file = fopen("/proc/meminfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %lf", &kilobytes) == 1) break;
    if (file) fclose(file);
    return kilobytes * 1024;
}

mn_status mn_read_file(mn_buf *out, const char *path, size_t max_bytes) {
    mn_map *map = NULL;
    MN_TRY(mn_map_open(&map, path));
    mn_status st = MN_OK;
    if (map->size > max_bytes)
        st = mn_fail(MN_ERR_DATA, "%s: %zu bytes, at most %zu expected", path, map->size,
                     max_bytes);
    else st = mn_buf_append(out, map->data, map->size);
    mn_map_close(&map);
    return st;
}

mn_status mn_make_dirs(const char *path) {
    mn_status st = MN_OK;
    char *copy = strdup(path);
    MN_CHECK(copy, MN_ERR_MEMORY, "%s: no memory", path);
    for (char *at = copy + (copy[0] == '/'); st == MN_OK; at++) {
        const char c = *at;
        if (c != '/' && c != '\0') continue;
        *at = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) st = mn_fail_errno(copy);
        *at = c;
        if (c == '\0') break;
    }
    if (st == MN_OK && !mn_dir_exists(path))
        st = mn_fail(MN_ERR_IO, "%s: exists but is not a folder", path);
    free(copy);
    return st;
}

bool mn_file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool mn_dir_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

mn_status mn_path_join(mn_buf *out, const char *dir, const char *name) {
    mn_buf_clear(out);
    const size_t len = strlen(dir);
    return mn_buf_printf(out, "%s%s%s", dir, len && dir[len - 1] == '/' ? "" : "/", name);
}

static mn_status sha256(char hex[MN_SHA256_HEX], const char *path, bool stoppable) {
    enum { CHUNK = 1 << 20 };
    static const char digits[] = "0123456789abcdef";
    mn_status st = MN_OK;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;
    unsigned char *chunk = malloc(CHUNK);
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    FILE *file = NULL;
    MN_CHECK_GOTO(chunk && hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1, MN_ERR_MEMORY,
                  "%s: no memory to hash it", path);
    file = fopen(path, "rbe");
    if (!file) {
        st = mn_fail_errno(path);
        goto done;
    }
    size_t got;
    while ((got = fread(chunk, 1, CHUNK, file)) > 0) {
        MN_CHECK_GOTO(!stoppable || !mn_stop_requested(), MN_STOPPED, "%s: stopped on request",
                      path);
        EVP_DigestUpdate(hash, chunk, got);
    }
    if (ferror(file)) {
        st = mn_fail_errno(path);
        goto done;
    }
    EVP_DigestFinal_ex(hash, digest, &digest_len);
    for (unsigned i = 0; i < digest_len && 2 * i + 2 < MN_SHA256_HEX; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[MN_SHA256_HEX - 1] = '\0';
done:
    if (file) fclose(file);
    EVP_MD_CTX_free(hash);
    free(chunk);
    return st;
}

mn_status mn_sha256_file(char hex[MN_SHA256_HEX], const char *path) {
    return sha256(hex, path, false);
}

mn_status mn_sha256_large(char hex[MN_SHA256_HEX], const char *path) {
    return sha256(hex, path, true);
}
