/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Turns the libc calls that this house does not use into compile errors. Forced into every file by meson.build. */
#ifndef FERRY_BASE_BANNED_H
#define FERRY_BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok atoi atol atof asctime ctime gmtime \
    localtime

#endif
