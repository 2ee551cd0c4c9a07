/* version.h - the version of mneme; the build reads it from here. */
#ifndef MNEME_VERSION_H
#define MNEME_VERSION_H

#define MNEME_VERSION "0.1.0"

#endif
