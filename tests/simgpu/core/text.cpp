/* text.cpp - small helpers for reading PTX. */
#include "text.h"
#include <cstring>
#include <sstream>

namespace sg {

std::string strip_comments(const std::string &text) {
    std::string result;
    result.reserve(text.size());
    for (size_t i = 0; i < text.size();) {
        if (text[i] == '"') {
            size_t end = i + 1;
            while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
            result.append(text, i, end + 1 - i);
            i = end + 1;
        } else if (text.compare(i, 2, "//") == 0) {
            while (i < text.size() && text[i] != '\n') i++;
        } else if (text.compare(i, 2, "/*") == 0) {
            const size_t end = text.find("*/", i);
            if (end == std::string::npos) break;
            i = end + 2;
            result += ' ';
        } else result += text[i++];
    }
    return result;
}

std::string trim(const std::string &text) {
    const char *blank = " \t\r\n";
    const size_t first = text.find_first_not_of(blank), last = text.find_last_not_of(blank);
    return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

std::vector<std::string> split(const std::string &text, char separator) {
    std::vector<std::string> parts;
    std::string part;
    int depth = 0;
    for (const char c : text) {
        if (strchr("[{(<", c)) depth++;
        else if (strchr("]})>", c)) depth--;
        if (c == separator && depth == 0) {
            parts.push_back(trim(part));
            part.clear();
        } else part += c;
    }
    if (!trim(part).empty()) parts.push_back(trim(part));
    return parts;
}

std::vector<std::string> words(const std::string &text) {
    std::istringstream stream(text);
    std::vector<std::string> result;
    for (std::string word; stream >> word;) result.push_back(word);
    return result;
}

} // namespace sg
