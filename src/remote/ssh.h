/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way to another host's daemon by ssh(1): what libvirt's own clients run. */
#ifndef FERRY_REMOTE_SSH_H
#define FERRY_REMOTE_SSH_H

#include <stdbool.h>
#include <sys/types.h>

struct err;
struct remote_uri;

struct remote_ssh {
    pid_t pid;
    int errors; /* what ssh says, -1: the caller's standard error has it */
};

/* Starts ssh, whose input and output are the socket *ret_fd. On the other host it runs virt-ssh-helper where that is there, else nc; with
 * socket= in the URI always nc. interactive: ssh may ask for a password, and says what it says on standard error; it does neither
 * otherwise. */
int remote_ssh_start(const struct remote_uri *uri, bool interactive, struct remote_ssh *ret_ssh, int *ret_fd, struct err *err);
/* Appends the last line that ssh has said to the error, if there is any: why the connection broke. */
void remote_ssh_explain(const struct remote_ssh *ssh, struct err *err);
void remote_ssh_end(struct remote_ssh *ssh); /* also of one that is zeroed */

#endif
