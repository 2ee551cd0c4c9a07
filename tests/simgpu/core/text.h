/* text.h - small helpers for reading PTX. */
#ifndef SIMGPU_TEXT_H
#define SIMGPU_TEXT_H

#include <string>
#include <vector>

namespace sg {

std::string strip_comments(const std::string &text);
std::string trim(const std::string &text);
/* At separators outside brackets; parts are trimmed, a last empty part is dropped. */
std::vector<std::string> split(const std::string &text, char separator);
std::vector<std::string> words(const std::string &text);
inline bool starts_with(const std::string &text, const char *prefix) {
    return text.rfind(prefix, 0) == 0;
}
inline bool is_name_char(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%';
}

} // namespace sg
#endif
