/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Facts about the host, gathered once at the start. */
#include "daemon/host.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "base/uuid.h"
#include "daemon/daemon.h"
#include "daemon/files.h"

#define PROC_FILE_MAX (4u << 20)
#define PROBE_MAX (64u << 10)

/* Files of /proc have no size to read by. The caller frees. */
static char *read_stream(const char *path)
{
    FILE *stream = fopen(path, "re");
    char *text = stream != NULL ? malloc(PROC_FILE_MAX + 1) : NULL;
    size_t size = text != NULL ? fread(text, 1, PROC_FILE_MAX, stream) : 0;

    if (stream != NULL)
        fclose(stream);
    if (text != NULL)
        text[size] = 0;
    return text;
}

uint64_t host_memory_kib(const char *name)
{
    char *text = read_stream("/proc/meminfo");
    char wanted[64];
    unsigned long long value = 0;
    const char *line = NULL;

    text_format(wanted, sizeof(wanted), "%s:", name);
    if (text != NULL)
        line = strstr(text, wanted);
    if (line != NULL)
        value = strtoull(line + strlen(wanted), NULL, 10);
    free(text);
    return value;
}

void host_read_line(const char *path, char *out, size_t size)
{
    FILE *stream = fopen(path, "re");

    if (stream == NULL || fgets(out, (int)size, stream) == NULL)
        out[0] = 0;
    out[strcspn(out, "\n")] = 0;
    if (stream != NULL)
        fclose(stream);
}

static bool read_number(const char *path, uint64_t *ret_value)
{
    char text[32];

    host_read_line(path, text, sizeof(text));
    return text_parse_u64(text, ret_value) == 0;
}

bool host_pages(uint32_t kib, uint64_t *ret_free, uint64_t *ret_total)
{
    uint64_t free_pages = 0, total = 0;
    char path[96];

    if (kib == 4) {
        free_pages = host_memory_kib("MemFree") / 4;
        total = host_memory_kib("MemTotal") / 4;
    } else {
        text_format(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%ukB/free_hugepages", kib);
        if (!read_number(path, &free_pages))
            return false;
        text_format(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%ukB/nr_hugepages", kib);
        read_number(path, &total);
    }
    if (ret_free != NULL)
        *ret_free = free_pages;
    if (ret_total != NULL)
        *ret_total = total;
    return true;
}

/* The value behind "name : " in /proc/cpuinfo's first record. */
static void cpuinfo_value(const char *text, const char *name, char *out, size_t size)
{
    const char *line = strstr(text, name);

    line = line != NULL ? strchr(line, ':') : NULL;
    if (line != NULL)
        text_format(out, size, "%.*s", (int)strcspn(line + 2, "\n"), line + 2);
}

static unsigned count_distinct_threads(void)
{
    char *text = read_stream("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list");
    unsigned threads = 1;

    for (const char *at = text; at != NULL && *at != 0; at++)
        threads += *at == ',' || *at == '-';
    free(text);
    return threads;
}

static void read_cpus(struct host *host)
{
    char *text = read_stream("/proc/cpuinfo");
    char mhz[32] = "0", vendor[32] = "";

    host->cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    host->threads = count_distinct_threads();
    if (host->threads == 0 || host->cpus % host->threads != 0)
        host->threads = 1;
    host->sockets = 1;
    host->cores = host->cpus / host->threads;
    if (text != NULL) {
        cpuinfo_value(text, "cpu MHz", mhz, sizeof(mhz));
        cpuinfo_value(text, "vendor_id", vendor, sizeof(vendor));
        cpuinfo_value(text, "model name", host->cpu_model, sizeof(host->cpu_model));
    }
    host->mhz = (unsigned)strtoul(mhz, NULL, 10);
    text_format(host->cpu_vendor, sizeof(host->cpu_vendor), "%s", text_equal(vendor, "AuthenticAMD") ? "AMD" : "Intel");
    host->memory = host_memory_kib("MemTotal") * 1024;
    free(text);
}

static int find_vmm(const struct daemon *daemon, struct host *host, struct err *err)
{
    char *path = realpath(daemon->config.vmm, NULL);

    if (path == NULL || access(path, X_OK) < 0) {
        free(path);
        return err_set(err, -ENOENT, "there is no program ferry-vmm at %s", daemon->config.vmm);
    }
    text_format(host->vmm, sizeof(host->vmm), "%s", path);
    free(path);
    return 0;
}

static void take_engines(struct host *host, const json_t *engines)
{
    const json_t *kvm = json_object_get(engines, "kvm");
    const char *reason = json_string_value(json_object_get(kvm, "reason"));

    host->kvm = json_is_true(json_object_get(kvm, "native"));
    text_format(host->kvm_reason, sizeof(host->kvm_reason), "%s", reason != NULL ? reason : "");
}

static void take_models(struct host *host, const json_t *models)
{
    size_t i;
    json_t *model;

    json_array_foreach (models, i, model) {
        const char *name = json_string_value(json_object_get(model, "name"));

        if (i >= HOST_MODELS_MAX || name == NULL)
            break;
        host->models[i] = strdup(name);
        host->model_usable[i] = json_is_true(json_object_get(model, "usable"));
    }
}

unsigned host_level_of(const char *model)
{
    static const char prefix[] = "x86-64-v";

    const char *digit = model + sizeof(prefix) - 1;

    return text_starts_with(model, prefix) && digit[0] >= '1' && digit[0] <= '4' && digit[1] == 0 ? (unsigned)(digit[0] - '0') : 0;
}

unsigned host_level(const struct host *host)
{
    unsigned level = 1;

    for (unsigned i = 0; host->models[i] != NULL; i++) {
        if (host->model_usable[i] && host_level_of(host->models[i]) > level)
            level = host_level_of(host->models[i]);
    }
    return level;
}

/* `ferry-vmm --capabilities`, once: a few milliseconds. */
static int ask_vmm(struct host *host, struct err *err)
{
    char command[PATH_MAX + 32], text[PROBE_MAX];
    FILE *pipe;
    size_t size;
    json_t *answer;

    for (const char *at = host->vmm; *at != 0; at++) {
        if (*at == '\'')
            return err_set(err, -EINVAL, "the path of ferry-vmm, %s, has a quote in it", host->vmm);
    }
    text_format(command, sizeof(command), "exec '%s' --capabilities </dev/null", host->vmm);
    pipe = popen(command, "re");
    if (pipe == NULL)
        return err_set(err, -errno, "cannot run %s: %s", host->vmm, strerror(errno));
    size = fread(text, 1, sizeof(text), pipe);
    pclose(pipe);
    answer = json_loadb(text, size, 0, NULL);
    if (!json_is_object(answer)) {
        json_decref(answer);
        return err_set(err, -EPROTO, "%s --capabilities does not answer as ferry-vmm does", host->vmm);
    }
    take_engines(host, json_object_get(answer, "engines"));
    take_models(host, json_object_get(answer, "cpu-models"));
    host->cpus_max = (unsigned)json_integer_value(json_object_get(answer, "cpus-max"));
    json_decref(answer);
    return 0;
}

/* A host keeps its UUID over restarts; a migration to itself is known by it. */
static int find_uuid(const struct daemon *daemon, struct host *host, struct err *err)
{
    char path[PATH_MAX], text[38];
    char *known = NULL;

    text_format(path, sizeof(path), "%s/host-uuid", daemon->config.state_dir);
    if (files_read(path, 100, &known, NULL) == 0) {
        known[strcspn(known, "\n")] = 0;
        int r = uuid_parse(known, host->uuid);
        free(known);
        if (r == 0)
            return 0;
    }
    uuid_random(host->uuid);
    uuid_format(host->uuid, text);
    text[36] = '\n';
    return files_write(path, text, 37, 0644, err);
}

static int fill(struct daemon *daemon, struct host *host, struct err *err)
{
    int r;

    if (daemon->config.hostname != NULL)
        text_format(host->name, sizeof(host->name), "%s", daemon->config.hostname);
    else
        gethostname(host->name, sizeof(host->name) - 1);
    read_cpus(host);
    r = find_vmm(daemon, host, err);
    if (r == 0)
        r = ask_vmm(host, err);
    if (r == 0)
        r = find_uuid(daemon, host, err);
    return r;
}

int host_new(struct daemon *daemon, struct host **ret_host, struct err *err)
{
    struct host *host = calloc(1, sizeof(*host));
    int r;

    if (host == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    r = fill(daemon, host, err);
    if (r < 0) {
        host_free(host);
        return r;
    }
    *ret_host = host;
    return 0;
}

void host_free(struct host *host)
{
    for (unsigned i = 0; host != NULL && i < HOST_MODELS_MAX; i++)
        free(host->models[i]);
    free(host);
}
