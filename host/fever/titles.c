/* titles.c - the table of page titles: an open-addressing hash table over their NFC forms. */
#include "fever/titles.h"

#include "mneme/buf.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef struct title {
    char *name;
    size_t len;
    uint64_t hash;
} title;

struct mn_titles {
    title *items;
    size_t count, cap;
    int64_t *slots; /* index of an item, or -1; at most half of them are taken */
    size_t slot_count;
};

enum { FIRST_SLOTS = 1024 };

/* FNV-1a, 64 bits: the names are short and come from files that the user chose. */
static uint64_t hash_of(const char *text, size_t len) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++) {
        hash ^= (unsigned char)text[i];
        hash *= UINT64_C(0x100000001b3);
    }
    return hash;
}

static bool is_ascii(const char *text, size_t len) {
    unsigned char any = 0;
    for (size_t i = 0; i < len; i++) any |= (unsigned char)text[i];
    return any < 0x80;
}

bool mn_is_utf8(const char *text, size_t len) {
    for (size_t at = 0; at < len;) {
        utf8proc_int32_t point;
        const utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                                       (utf8proc_ssize_t)(len - at), &point);
        if (used <= 0) return false;
        at += (size_t)used;
    }
    return true;
}

/* *name points to `text` itself when it is ASCII (its own NFC form), else to new memory in
 * *owned. */
static mn_status normalise(const char **name, size_t *name_len, char **owned, const char *text,
                           size_t len) {
    *owned = NULL;
    *name = text;
    *name_len = len;
    if (is_ascii(text, len)) return MN_OK;
    utf8proc_uint8_t *form = NULL;
    const utf8proc_ssize_t n = utf8proc_map(
        (const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &form,
        (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (n == UTF8PROC_ERROR_NOMEM) return mn_fail(MN_ERR_MEMORY, "no memory for a title");
    if (n < 0) return mn_fail(MN_ERR_DATA, "text is not valid UTF-8");
    *owned = (char *)form;
    *name = (const char *)form;
    *name_len = (size_t)n;
    return MN_OK;
}

/* The slot that holds the name, or the free slot where it belongs. */
static size_t slot_of(const mn_titles *titles, const char *name, size_t len, uint64_t hash) {
    const size_t mask = titles->slot_count - 1;
    size_t slot = (size_t)hash & mask;
    while (titles->slots[slot] >= 0) {
        const title *t = &titles->items[titles->slots[slot]];
        if (t->hash == hash && t->len == len && memcmp(t->name, name, len) == 0) break;
        slot = (slot + 1) & mask;
    }
    return slot;
}

static mn_status make_slots(mn_titles *titles, size_t count) {
    int64_t *slots = malloc(count * sizeof *slots);
    MN_CHECK(slots, MN_ERR_MEMORY, "no memory for %zu titles", count);
    for (size_t i = 0; i < count; i++) slots[i] = -1;
    free(titles->slots);
    titles->slots = slots;
    titles->slot_count = count;
    for (size_t i = 0; i < titles->count; i++) {
        const title *t = &titles->items[i];
        slots[slot_of(titles, t->name, t->len, t->hash)] = (int64_t)i;
    }
    return MN_OK;
}

mn_status mn_titles_open(mn_titles **out) {
    *out = NULL;
    mn_titles *titles = calloc(1, sizeof *titles);
    MN_CHECK(titles, MN_ERR_MEMORY, "no memory for titles");
    const mn_status st = make_slots(titles, FIRST_SLOTS);
    if (st != MN_OK) {
        free(titles);
        return st;
    }
    *out = titles;
    return MN_OK;
}

void mn_titles_close(mn_titles **titles) {
    if (!*titles) return;
    for (size_t i = 0; i < (*titles)->count; i++) free((*titles)->items[i].name);
    free((*titles)->items);
    free((*titles)->slots);
    free(*titles);
    *titles = NULL;
}

static mn_status append(mn_titles *titles, size_t slot, const char *name, size_t len,
                        uint64_t hash) {
    MN_TRY(mn_grow(&titles->items, &titles->cap, titles->count + 1, sizeof *titles->items));
    char *copy = mn_strdup_n(name, len);
    MN_CHECK(copy, MN_ERR_MEMORY, "no memory for a title");
    titles->slots[slot] = (int64_t)titles->count;
    titles->items[titles->count++] = (title){.name = copy, .len = len, .hash = hash};
    return MN_OK;
}

mn_status mn_titles_add(int64_t *index, mn_titles *titles, const char *text, size_t len) {
    *index = -1;
    if (titles->count + 1 > titles->slot_count / 2) {
        MN_TRY(make_slots(titles, titles->slot_count * 2));
    }
    const char *name;
    size_t name_len;
    char *owned;
    MN_TRY(normalise(&name, &name_len, &owned, text, len));
    const uint64_t hash = hash_of(name, name_len);
    const size_t slot = slot_of(titles, name, name_len, hash);
    mn_status st = MN_OK;
    if (titles->slots[slot] < 0) st = append(titles, slot, name, name_len, hash);
    if (st == MN_OK) *index = titles->slots[slot];
    free(owned);
    return st;
}

mn_status mn_titles_find(int64_t *index, const mn_titles *titles, const char *text, size_t len) {
    *index = -1;
    const char *name;
    size_t name_len;
    char *owned;
    MN_TRY(normalise(&name, &name_len, &owned, text, len));
    *index = titles->slots[slot_of(titles, name, name_len, hash_of(name, name_len))];
    free(owned);
    return MN_OK;
}

int64_t mn_titles_count(const mn_titles *titles) { return (int64_t)titles->count; }

const char *mn_titles_name(const mn_titles *titles, int64_t index) {
    return titles->items[index].name;
}

uint64_t mn_titles_hash(const mn_titles *titles, int64_t index) {
    return titles->items[index].hash;
}
