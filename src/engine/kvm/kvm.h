/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kvm engine as the rest of Ferry sees it: one engine_type.
 *
 * Options (engine_config.options), separated by commas: "dirty=ring" or "dirty=bitmap" says how dirty pages are logged;
 * without it the ring where the host has one. */
#ifndef FERRY_ENGINE_KVM_KVM_H
#define FERRY_ENGINE_KVM_KVM_H

struct engine_type;

extern const struct engine_type kvm_engine_type;

#endif
