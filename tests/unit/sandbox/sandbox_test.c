/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of the confinement: what a role may do works, what it may not do ends the process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "sandbox/sandbox.h"

enum { ALLOWED = 42, REFUSED = 43, STOPPED = 4 };

/* Exit code of a child that enters the role and then runs action. */
static int confined(enum sandbox_role role, void (*action)(void))
{
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        struct err err = ERR_INIT;

        close(STDERR_FILENO);
        sandbox_report_violations(NULL);
        if (sandbox_enter(role, &err) < 0)
            _exit(REFUSED);
        action();
        _exit(ALLOWED);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void use_memory(void)
{
    char *volatile block = malloc(1 << 20);

    free(block);
}

static void open_socket(void)
{
    close(socket(AF_INET, SOCK_STREAM, 0));
}

static void start_program(void)
{
    execl("/bin/true", "true", (char *)NULL);
}

static void change_directory(void)
{
    if (chdir("/") < 0)
        _exit(REFUSED);
}

static void test_both_roles_use_memory(void **state)
{
    assert_int_equal(confined(SANDBOX_CPU, use_memory), ALLOWED);
    assert_int_equal(confined(SANDBOX_LOOP, use_memory), ALLOWED);
}

static void test_only_the_loop_has_sockets(void **state)
{
    assert_int_equal(confined(SANDBOX_LOOP, open_socket), ALLOWED);
    assert_int_equal(confined(SANDBOX_CPU, open_socket), STOPPED);
}

static void test_nobody_starts_programs(void **state)
{
    assert_int_equal(confined(SANDBOX_CPU, start_program), STOPPED);
    assert_int_equal(confined(SANDBOX_LOOP, start_program), STOPPED);
    assert_int_equal(confined(SANDBOX_LOOP, change_directory), STOPPED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_roles_use_memory),
        cmocka_unit_test(test_only_the_loop_has_sockets),
        cmocka_unit_test(test_nobody_starts_programs),
    };

    if (!sandbox_supported()) {
        printf("SKIPPED: no confinement under sanitizers\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
