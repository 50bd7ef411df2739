/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Saving and restoring domains. */
#include "daemon/save.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/files.h"
#include "daemon/host.h"
#include "daemon/lifecycle.h"
#include "daemon/monitor.h"
#include "daemon/process.h"
#include "daemon/tree.h"
#include "protocol/rpc.h"
#include "protocol/xml.h"

#define DOCUMENT_MAX (4u << 20)
#define COPY_SIZE (1u << 20)

/* The last bytes of a file. Little-endian. */
struct trailer {
    uint64_t document_size; /* of the XML in front of it */
    char magic[8];
};
static const char trailer_magic[8] = "FERRYXML";

static void stage_path(const struct domain *domain, const char *name, char path[static PATH_MAX])
{
    char uuid[UUID_TEXT_SIZE];

    uuid_format(domain_uuid(domain), uuid);
    text_format(path, PATH_MAX, "%s/save/%s.d%s", domain->daemon->config.state_dir, uuid, name);
}

static void clear_stage(const struct domain *domain)
{
    char path[PATH_MAX];

    stage_path(domain, "/state", path);
    unlink(path);
    stage_path(domain, "", path);
    rmdir(path);
}

/* A directory that the VM's user may write to: the VM writes its state itself. */
static int make_stage(struct domain *domain, struct err *err)
{
    char path[PATH_MAX];
    int r;

    clear_stage(domain);
    stage_path(domain, "", path);
    r = files_make_directory(path, 0700, err);
    return r == 0 ? process_give(domain->daemon, path, err) : r;
}

/* The document as it is kept: xml, or the definition if that is NULL. */
static int format_document(const struct definition *definition, bool paused, const char *xml, struct buffer *out)
{
    int r = buffer_printf(out, "<domsave paused='%s'>\n", paused ? "yes" : "no");

    if (r == 0)
        r = xml != NULL ? buffer_printf(out, "%s", xml + (text_starts_with(xml, "<?xml") ? strcspn(xml, "\n") : 0))
                        : definition_format(definition, -1, out);
    return r == 0 ? buffer_printf(out, "</domsave>\n") : r;
}

/* Behind all that the file holds; on failure it holds that still. */
static int append_document(const struct definition *definition, int fd, bool paused, const char *xml)
{
    struct buffer text = BUFFER_INIT(DOCUMENT_MAX);
    struct trailer trailer;
    off_t end = lseek(fd, 0, SEEK_END);
    int r = end < 0 ? -errno : format_document(definition, paused, xml, &text);

    trailer.document_size = text.size;
    memcpy(trailer.magic, trailer_magic, sizeof(trailer.magic));
    if (r == 0)
        r = fd_write_all(fd, text.data, text.size);
    if (r == 0)
        r = fd_write_all(fd, &trailer, sizeof(trailer));
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (r < 0 && end >= 0 && ftruncate(fd, end) < 0)
        r = -errno;
    buffer_fini(&text);
    return r;
}

struct copy {
    int from, to, result;
};

static void copy_bytes(void *ctx)
{
    struct copy *copy = ctx;
    char *bytes = malloc(COPY_SIZE);
    ssize_t got = 0;

    copy->result = bytes == NULL ? -ENOMEM : 0;
    while (copy->result == 0 && (got = read(copy->from, bytes, COPY_SIZE)) > 0)
        copy->result = fd_write_all(copy->to, bytes, (size_t)got);
    if (copy->result == 0 && (got < 0 || fsync(copy->to) < 0))
        copy->result = -errno;
    free(bytes);
}

/* Across file systems; in a worker. */
static int copy_file(struct daemon *daemon, const char *from, const char *to)
{
    struct copy copy = {.from = open(from, O_RDONLY | O_CLOEXEC), .to = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    int r = copy.from < 0 || copy.to < 0 ? -errno : coroutine_work(daemon->scheduler, copy_bytes, &copy);

    fd_close(&copy.from);
    fd_close(&copy.to);
    return r < 0 ? r : copy.result;
}

/* Puts the finished file where it belongs. */
static int move_file(struct daemon *daemon, const char *from, const char *to, struct err *err)
{
    char temporary[PATH_MAX];
    int r;

    if (rename(from, to) == 0)
        return 0;
    if (text_format(temporary, sizeof(temporary), "%s.part", to) < 0)
        return err_set(err, -ENAMETOOLONG, "the name of the file %s is too long", to);
    r = copy_file(daemon, from, temporary);
    if (r == 0 && rename(temporary, to) < 0)
        r = -errno;
    if (r < 0)
        unlink(temporary);
    return r < 0 ? err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "cannot write %s: %s", to, strerror(-r)) : 0;
}

static int write_state(struct domain *domain, const char *state, struct err *err)
{
    return monitor_call_fd(domain->monitor, "x-ferry-save", json_pack("{s:s}", "file", state), -1, WAIT_FOR_EVER, NULL, err);
}

/* The VM has written its part: from here on it can't put anything else in its place. */
static int take_stage(const struct domain *domain, const char *state, int *ret_fd, struct err *err)
{
    char directory[PATH_MAX];
    struct stat about;
    int fd, r = 0;

    stage_path(domain, "", directory);
    if (lchown(directory, geteuid(), getegid()) < 0)
        return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "cannot take %s over: %s", directory, strerror(errno));
    fd = open(state, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &about) < 0 || fchown(fd, geteuid(), getegid()) < 0)
        r = err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "cannot take %s over: %s", state, strerror(errno));
    else if (!S_ISREG(about.st_mode) || about.st_nlink != 1)
        r = err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "%s is not the file that the VM was to write", state);
    if (r < 0)
        fd_close(&fd);
    else
        *ret_fd = fd;
    return r;
}

static int save_to(struct domain *domain, const char *path, bool paused, const char *xml, struct err *err)
{
    char state[PATH_MAX];
    int fd = -1, r = make_stage(domain, err);

    if (r < 0)
        return r;
    stage_path(domain, "/state", state);
    r = write_state(domain, state, err);
    if (r == 0)
        r = domain_need_active(domain, err);
    if (r == 0)
        r = take_stage(domain, state, &fd, err);
    if (r < 0)
        return r;
    r = append_document(domain->live, fd, paused, xml);
    fd_close(&fd);
    if (r < 0)
        return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "cannot write %s: %s", state, strerror(-r));
    return move_file(domain->daemon, state, path, err);
}

int save_domain(struct domain *domain, const char *path, int resume, const char *xml, struct err *err)
{
    bool was_running = domain->state == DOMAIN_RUNNING;
    bool paused = resume == RESUME_PAUSED || (resume == RESUME_AS_SAVED && !was_running);
    int r;

    if (path[0] != '/')
        return err_set(err, RPC_FAULT(RPC_INVALID_ARGUMENT), "'%.200s' is no absolute path", path);
    r = save_to(domain, path, paused, xml, err);
    clear_stage(domain);
    if (r == 0)
        return lifecycle_destroy(domain, SHUTOFF_SAVED, STOPPED_SAVED, err);
    if (was_running && domain_active(domain))
        monitor_call(domain->monitor, "cont", NULL, NULL, NULL);
    return r;
}

static int read_trailer(int fd, char **ret_text)
{
    struct trailer trailer;
    off_t end = lseek(fd, 0, SEEK_END);
    char *text;
    int r;

    if (end < (off_t)sizeof(trailer))
        return -EBADMSG;
    r = fd_pread_all(fd, &trailer, sizeof(trailer), (uint64_t)end - sizeof(trailer));
    if (r < 0)
        return r;
    if (memcmp(trailer.magic, trailer_magic, sizeof(trailer_magic)) != 0 || trailer.document_size > DOCUMENT_MAX ||
        trailer.document_size > (uint64_t)end - sizeof(trailer))
        return -EBADMSG;
    text = calloc(1, trailer.document_size + 1);
    if (text == NULL)
        return -ENOMEM;
    r = fd_pread_all(fd, text, trailer.document_size, (uint64_t)end - sizeof(trailer) - trailer.document_size);
    if (r < 0)
        free(text);
    else
        *ret_text = text;
    return r;
}

static int parse_document(const struct daemon *daemon, const char *text, struct definition **ret_definition, bool *ret_paused,
                          struct err *err)
{
    struct buffer document = BUFFER_INIT(DOCUMENT_MAX);
    xmlDoc *doc = NULL;
    int r = xml_read(text, "domsave", &doc, err);

    if (r < 0)
        return r;
    *ret_paused = tree_is(xml_root(doc), "paused", "yes");
    r = xml_first(xml_root(doc), "domain") == NULL ? -EBADMSG : tree_format(xml_first(xml_root(doc), "domain"), 0, &document);
    xmlFreeDoc(doc);
    if (r == 0)
        r = definition_parse((const char *)document.data, daemon->host, ret_definition, err);
    buffer_fini(&document);
    return r;
}

int save_read(const struct daemon *daemon, const char *path, struct definition **ret_definition, bool *ret_paused, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char *text = NULL;
    int r = fd < 0 ? -errno : read_trailer(fd, &text);

    fd_close(&fd);
    if (r < 0)
        return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "cannot restore from %.200s: %s", path,
                       r == -EBADMSG ? "it is no saved domain" : strerror(-r));
    r = parse_document(daemon, text, ret_definition, ret_paused, err);
    free(text);
    return r;
}

int save_define(const struct daemon *daemon, const char *path, const char *xml, int resume, struct err *err)
{
    struct definition *definition = NULL, *other = NULL;
    bool paused = false;
    int fd, r = save_read(daemon, path, &definition, &paused, err);

    if (r == 0)
        r = definition_parse(xml, daemon->host, &other, err);
    if (r == 0)
        r = definition_check_same(definition, other, err);
    if (r == 0) {
        fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        r = fd < 0 ? -errno : append_document(other, fd, resume == RESUME_PAUSED || (resume == RESUME_AS_SAVED && paused), NULL);
        fd_close(&fd);
        if (r < 0)
            err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "cannot write %.200s: %s", path, strerror(-r));
    }
    definition_free(definition);
    definition_free(other);
    return r;
}

/* A VM that runs as another user reads a copy of its own. */
static int load(struct domain *domain, const char *path, bool paused, struct err *err)
{
    char state[PATH_MAX];
    int r;

    if (domain->daemon->config.user == NULL || geteuid() != 0)
        return lifecycle_load(domain, path, paused, err);
    r = make_stage(domain, err);
    stage_path(domain, "/state", state);
    if (r == 0) {
        r = copy_file(domain->daemon, path, state);
        r = r < 0 ? err_set(err, r, "cannot copy %s: %s", path, strerror(-r)) : process_give(domain->daemon, state, err);
    }
    if (r == 0)
        r = lifecycle_load(domain, state, paused, err);
    clear_stage(domain);
    return r;
}

static bool is_paused(bool saved_paused, int resume)
{
    return resume == RESUME_PAUSED || (resume == RESUME_AS_SAVED && saved_paused);
}

int save_restore(struct daemon *daemon, const char *path, const char *xml, int resume, struct err *err)
{
    struct definition *definition = NULL, *other = NULL;
    struct domain *domain;
    bool paused = false;
    int r = save_read(daemon, path, &definition, &paused, err);

    if (r == 0 && xml != NULL)
        r = definition_parse(xml, daemon->host, &other, err);
    if (r == 0 && other != NULL)
        r = definition_check_same(definition, other, err);
    if (r == 0 && other != NULL) {
        definition_free(definition);
        definition = other;
        other = NULL;
    }
    if (r < 0) {
        definition_free(definition);
        definition_free(other);
        return r;
    }
    r = inventory_add_live(daemon, definition, &domain, err);
    if (r < 0)
        return r;
    domain_hold(domain);
    r = domain_begin_job(domain, JOB_MODIFY, err);
    if (r == 0) {
        r = load(domain, path, is_paused(paused, resume), err);
        domain_end_job(domain);
    }
    domain_release(domain);
    return r;
}

int save_restore_managed(struct domain *domain, bool paused, struct err *err)
{
    struct definition *definition = NULL;
    bool saved_paused = false;
    char path[PATH_MAX];
    int r;

    domain_path(domain, FILE_MANAGED_SAVE, path);
    r = save_read(domain->daemon, path, &definition, &saved_paused, err);
    if (r < 0)
        return r;
    definition_free(domain->live);
    domain->live = definition;
    return load(domain, path, paused || saved_paused, err);
}
