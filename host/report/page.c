/* page.c - headings, sentences, lists and figures, in Markdown and in HTML at once. */
#include "report/page.h"

#include "mneme/file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mn_page_free(mn_page *page) {
    for (size_t i = 0; i < page->file_count; i++) {
        free(page->files[i].name);
        mn_buf_free(&page->files[i].text);
    }
    free(page->files);
    mn_buf_free(&page->md);
    mn_buf_free(&page->body);
    mn_buf_free(&page->toc);
    *page = (mn_page){0};
}

static mn_status text_of(mn_buf *out, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    const int need = vsnprintf(NULL, 0, format, again);
    va_end(again);
    MN_CHECK(need >= 0, MN_ERR_USAGE, "report: bad format \"%s\"", format);
    MN_TRY(mn_buf_reserve(out, (size_t)need));
    vsnprintf(out->data, (size_t)need + 1, format, args);
    out->len = (size_t)need;
    return MN_OK;
}

/* `text` between what each form puts around it. */
static mn_status around(mn_page *page, const char *text, const char *md_before,
                        const char *md_after, const char *before, const char *after) {
    MN_TRY(mn_buf_puts(&page->md, md_before));
    MN_TRY(mn_markdown_escape(&page->md, text));
    MN_TRY(mn_buf_puts(&page->md, md_after));
    MN_TRY(mn_buf_puts(&page->body, before));
    MN_TRY(mn_xml_escape(&page->body, text));
    return mn_buf_puts(&page->body, after);
}

mn_status mn_page_end_list(mn_page *page) {
    if (!page->in_list) return MN_OK;
    page->in_list = false;
    MN_TRY(mn_buf_puts(&page->md, "\n"));
    return mn_buf_puts(&page->body, "</ul>\n");
}

static mn_status section(mn_page *page, const char *id, const char *title) {
    mn_buf tag = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_page_end_list(page));
    MN_GOTO(mn_buf_printf(&tag, "%s<section id=\"%s\">\n<h2>",
                          page->in_section ? "</section>\n" : "", id));
    MN_GOTO(around(page, title, "## ", "\n\n", tag.data, "</h2>\n"));
    MN_GOTO(mn_buf_printf(&page->toc, "<li><a href=\"#%s\">", id));
    MN_GOTO(mn_xml_escape(&page->toc, title));
    MN_GOTO(mn_buf_puts(&page->toc, "</a></li>\n"));
    page->in_section = true;
done:
    mn_buf_free(&tag);
    return st;
}

void mn_page_section(mn_page *page, const char *id, const char *title) {
    if (page->st == MN_OK) page->st = section(page, id, title);
}

void mn_page_heading(mn_page *page, const char *format, ...) {
    mn_buf text = {0};
    va_list args;
    va_start(args, format);
    if (page->st == MN_OK) page->st = mn_page_end_list(page);
    if (page->st == MN_OK) page->st = text_of(&text, format, args);
    if (page->st == MN_OK) page->st = around(page, text.data, "### ", "\n\n", "<h3>", "</h3>\n");
    va_end(args);
    mn_buf_free(&text);
}

void mn_page_para(mn_page *page, const char *format, ...) {
    mn_buf text = {0};
    va_list args;
    va_start(args, format);
    if (page->st == MN_OK) page->st = mn_page_end_list(page);
    if (page->st == MN_OK) page->st = text_of(&text, format, args);
    if (page->st == MN_OK) page->st = around(page, text.data, "", "\n\n", "<p>", "</p>\n");
    va_end(args);
    mn_buf_free(&text);
}

void mn_page_item(mn_page *page, const char *format, ...) {
    mn_buf text = {0};
    va_list args;
    va_start(args, format);
    if (page->st == MN_OK && !page->in_list) page->st = mn_buf_puts(&page->body, "<ul>\n");
    page->in_list = true;
    if (page->st == MN_OK) page->st = text_of(&text, format, args);
    if (page->st == MN_OK) page->st = around(page, text.data, "- ", "\n", "<li>", "</li>\n");
    va_end(args);
    mn_buf_free(&text);
}

static mn_status fold(mn_page *page, const char *summary) {
    MN_TRY(mn_page_end_list(page));
    MN_TRY(mn_buf_puts(&page->body, "<details>\n<summary>"));
    MN_TRY(mn_xml_escape(&page->body, summary));
    return mn_buf_puts(&page->body, "</summary>\n");
}

void mn_page_fold(mn_page *page, const char *summary) {
    if (page->st == MN_OK) page->st = fold(page, summary);
}

void mn_page_unfold(mn_page *page) {
    if (page->st == MN_OK) page->st = mn_page_end_list(page);
    if (page->st == MN_OK) page->st = mn_buf_puts(&page->body, "</details>\n");
}

mn_buf *mn_page_file_new(mn_page *page, const char *name, const char *ending) {
    mn_buf full = {0};
    if (page->st == MN_OK) page->st = mn_buf_printf(&full, "%s%s", name, ending);
    if (page->st == MN_OK)
        page->st = mn_grow(&page->files, &page->file_cap, page->file_count + 1,
                           sizeof *page->files);
    if (page->st != MN_OK) {
        mn_buf_free(&full);
        return NULL;
    }
    page->files[page->file_count] = (mn_page_file){.name = full.data};
    return &page->files[page->file_count++].text;
}

static mn_status figure(mn_page *page, const char *name, const char *title, const mn_buf *svg,
                        const char *caption) {
    mn_buf *file = mn_page_file_new(page, name, ".svg");
    if (!file) return page->st;
    /* By itself it needs its own style, right behind the opening tag. */
    const char *inside = strchr(svg->data, '>') + 1;
    MN_TRY(mn_buf_append(file, svg->data, (size_t)(inside - svg->data)));
    MN_TRY(
        mn_buf_printf(file,
                      "\n<style>\n%s.bg{fill:#fff}\n@media screen and (prefers-color-scheme:dark)"
                      "{.bg{fill:#14161b}}\n</style>\n<rect class=\"bg\" width=\"100%%\" "
                      "height=\"100%%\"/>%s\n",
                      mn_style_chart, inside));
    MN_TRY(mn_page_end_list(page));
    MN_TRY(mn_buf_puts(&page->md, "!["));
    MN_TRY(mn_markdown_escape(&page->md, title));
    MN_TRY(mn_buf_printf(&page->md, "](%s.svg)\n\n", name));
    MN_TRY(mn_markdown_escape(&page->md, caption));
    MN_TRY(mn_buf_puts(&page->md, "\n\n"));
    MN_TRY(mn_buf_puts(&page->body,
                       "<figure>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
                       "aria-label=\""));
    MN_TRY(mn_xml_escape(&page->body, title));
    MN_TRY(mn_buf_printf(&page->body, "\">\n%s\n</div>\n<figcaption>", svg->data));
    MN_TRY(mn_xml_escape(&page->body, caption));
    return mn_buf_puts(&page->body, "</figcaption>\n</figure>\n");
}

void mn_page_figure(mn_page *page, const char *name, const char *title, const mn_buf *svg,
                    const char *caption) {
    if (page->st == MN_OK) page->st = figure(page, name, title, svg, caption);
}

mn_status mn_page_html(mn_buf *out, const mn_page *page, const char *title) {
    mn_buf_clear(out);
    MN_TRY(mn_buf_puts(out,
                       "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                       "<meta name=\"viewport\" content=\"width=device-width, "
                       "initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"
                       "<title>"));
    MN_TRY(mn_xml_escape(out, title));
    MN_TRY(mn_buf_printf(out, "</title>\n<style>\n%s%s</style>\n</head>\n<body>\n<header>\n<h1>",
                         mn_style_page, mn_style_chart));
    MN_TRY(mn_xml_escape(out, title));
    MN_TRY(mn_buf_printf(out,
                         "</h1>\n<nav aria-label=\"Sections\">\n<ul>\n%s</ul>\n</nav>\n</header>\n"
                         "<main>\n%s%s</main>\n</body>\n</html>\n",
                         page->toc.len ? page->toc.data : "", page->body.len ? page->body.data : "",
                         page->in_section ? "</section>\n" : ""));
    return MN_OK;
}
