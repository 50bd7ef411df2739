/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests: networks come and go in a network namespace of the test's own, with the real dnsmasq and nftables. */
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "network/child.h"
#include "network/firewall.h"
#include "network/link.h"
#include "network/network.h"

static char place[64], config_directory[96], run_directory[96], lease_directory[96];
static char last_warning[ERR_MESSAGE_MAX];
static unsigned events[4];
static struct networks *networks;

static const char private1[] = "<network><name>private1</name><bridge name='virbr1'/>"
                               "<ip address='172.16.10.1' netmask='255.255.255.0'><dhcp>"
                               "<range start='172.16.10.101' end='172.16.10.199'/></dhcp></ip></network>";
static const char nat[] = "<network><name>nat</name><forward mode='nat'/><ip address='192.168.150.1' prefix='24'>"
                          "<dhcp><range start='192.168.150.2' end='192.168.150.254'/></dhcp></ip></network>";

static void take_event(void *ctx, const struct network *network, enum network_event event)
{
    events[event]++;
}

static void take_warning(void *ctx, const char *sentence)
{
    (void)text_format(last_warning, sizeof(last_warning), "%s", sentence);
}

static void open_networks(void)
{
    struct err err = ERR_INIT;
    struct networks_options options = {.config_directory = config_directory,
                                       .run_directory = run_directory,
                                       .lease_directory = lease_directory,
                                       .event = take_event,
                                       .warn = take_warning};
    last_warning[0] = '\0';
    if (networks_open(&options, &networks, &err) < 0)
        fail_msg("%s", err.message);
}

static void reopen(void)
{
    networks_close(networks);
    open_networks();
}

static int run_shell(const char *command)
{
    struct err err = ERR_INIT;
    return child_run((const char *const[]){"sh", "-c", command, NULL}, 10000, &err);
}

static int enter_namespace(void **state)
{
    memcpy(place, "/tmp/ferry-network-XXXXXX", 26);
    if (unshare(CLONE_NEWNET) < 0 || mkdtemp(place) == NULL || chmod(place, 0755) < 0)
        return 0; /* each test says why it is skipped */
    snprintf(config_directory, sizeof(config_directory), "%s/config", place);
    snprintf(run_directory, sizeof(run_directory), "%s/run", place);
    snprintf(lease_directory, sizeof(lease_directory), "%s/leases", place);
    return 0;
}

static int leave(void **state)
{
    char command[96];
    snprintf(command, sizeof(command), "rm -rf %s", place);
    return config_directory[0] == '\0' ? 0 : run_shell(command);
}

static int start_test(void **state)
{
    if (config_directory[0] == '\0')
        return 0;
    memset(events, 0, sizeof(events));
    open_networks();
    return 0;
}

static void need_namespace(void)
{
    if (config_directory[0] == '\0')
        SKIP("no right to make a network namespace");
    if (access("/dev/net/tun", R_OK | W_OK) < 0)
        SKIP("no /dev/net/tun");
}

static unsigned files_in(const char *directory)
{
    unsigned count = 0;
    DIR *entries = opendir(directory);
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries))
        count += entry->d_type != DT_DIR;
    closedir(entries);
    return count;
}

/* Takes away what a failed test would leave to the next, and checks that nothing else is left. */
static int end_test(void **state)
{
    struct err err = ERR_INIT;
    if (config_directory[0] == '\0')
        return 0;
    while (networks_count(networks) > 0) {
        struct network *network = networks_get(networks, 0);
        bool persistent = network_is_persistent(network);
        if ((network_is_active(network) && network_destroy(network, &err) < 0) ||
            (persistent && network_undefine(network, &err) < 0)) {
            printf("%s\n", err.message);
            return -1;
        }
    }
    networks_close(networks);
    if (files_in(config_directory) != 0 || files_in(run_directory) != 0 || files_in(lease_directory) != 0) {
        printf("files are left behind\n");
        return -1;
    }
    if (run_shell("test \"$(nft list ruleset)\" = ''") != 0) {
        printf("firewall rules are left behind\n");
        return -1;
    }
    return if_nametoindex("virbr0") != 0 || if_nametoindex("virbr1") != 0 ? -1 : 0;
}

static struct network *define(const char *xml)
{
    struct network *network = NULL;
    struct err err = ERR_INIT;
    if (network_define(networks, xml, &network, &err) < 0)
        fail_msg("%s", err.message);
    return network;
}

static void start(struct network *network)
{
    struct err err = ERR_INIT;
    if (network_start(network, &err) < 0)
        fail_msg("%s", err.message);
}

static void assert_says(const struct err *err, const char *sentence)
{
    if (strstr(err->message, sentence) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err->message, sentence);
}

static int find_dnsmasq(const char *name)
{
    struct dnsmasq_place where = {
        .program = "dnsmasq", .user = "", .run_directory = run_directory, .lease_directory = lease_directory};
    int fd = -1;
    return dnsmasq_find(&where, name, &fd) < 0 ? -1 : fd;
}

static void test_life(void **state)
{
    struct err err = ERR_INIT;
    struct link_status status;
    need_namespace();
    struct network *network = define(private1);
    assert_false(network_is_active(network));
    assert_int_equal(network_set_autostart(network, true, &err), 0);
    start(network);
    assert_int_equal(network_start(network, &err), -EISCONN);
    assert_int_equal(link_query("virbr1", &status, &err), 0);
    assert_true(status.is_bridge && status.up);
    assert_memory_equal(status.mac, network_definition(network)->mac, 6);
    int fd = find_dnsmasq("private1");
    assert_true(fd >= 0);
    assert_int_equal(network_destroy(network, &err), 0);
    struct pollfd ended = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&ended, 1, 5000), 1);
    fd_close(&fd);
    assert_int_equal(link_query("virbr1", &status, &err), 0);
    assert_false(status.exists);
    assert_int_equal(network_destroy(network, &err), -ENOTCONN);
    assert_says(&err, "private1 is not active");
    uint8_t mac[6];
    memcpy(mac, network_definition(network)->mac, 6);
    assert_int_equal(network_undefine(network, &err), 0);
    assert_int_equal(networks_count(networks), 0);
    network = define(private1); /* as another host would */
    assert_memory_equal(network_definition(network)->mac, mac, 6);
    assert_int_equal(network_undefine(network, &err), 0);
    events[NETWORK_DEFINED] = events[NETWORK_UNDEFINED] = 1;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(events[i], 1);
}

static void test_transient(void **state)
{
    struct err err = ERR_INIT;
    struct network *network;
    need_namespace();
    assert_int_equal(network_create(networks, nat, &network, &err), 0);
    assert_false(network_is_persistent(network));
    assert_string_equal(network_definition(network)->bridge, "virbr0");
    assert_int_equal(network_set_autostart(network, true, &err), -ENOTCONN);
    assert_int_equal(network_undefine(network, &err), -ENOTCONN);
    assert_int_equal(network_destroy(network, &err), 0);
    assert_int_equal(networks_count(networks), 0);
}

static void test_found_again(void **state)
{
    struct err err = ERR_INIT;
    need_namespace();
    struct network *network = define(private1);
    assert_int_equal(network_set_autostart(network, true, &err), 0);
    start(network);
    assert_int_equal(network_create(networks, nat, &network, &err), 0);
    int before = find_dnsmasq("private1");
    reopen();
    assert_string_equal(last_warning, "");
    network = networks_find(networks, "private1");
    assert_non_null(network);
    assert_true(network_is_active(network) && network_is_persistent(network) && network_autostart(network));
    assert_true(network_is_active(networks_find(networks, "nat")) &&
                !network_is_persistent(networks_find(networks, "nat")));
    int after = find_dnsmasq("private1");
    assert_true(before >= 0 && after >= 0);
    /* A dnsmasq that died is there again, and a bridge that is gone means that the network stopped. */
    struct pollfd ended = {.fd = before, .events = POLLIN};
    char command[160];
    snprintf(command, sizeof(command), "kill $(cat %s/private1.pid); ip link del virbr0", run_directory);
    assert_int_equal(run_shell(command), 0);
    assert_int_equal(poll(&ended, 1, 5000), 1);
    fd_close(&before);
    fd_close(&after);
    reopen();
    assert_string_equal(last_warning, "");
    assert_null(networks_find(networks, "nat"));
    after = find_dnsmasq("private1");
    assert_true(after >= 0);
    fd_close(&after);
}

/* What a crash in the middle of starting leaves: the status file says so, and some of it is there. */
static void test_half_started(void **state)
{
    char path[160], text[4096];
    need_namespace();
    struct network *network = define(private1);
    start(network);
    snprintf(path, sizeof(path), "%s/private1.xml", run_directory);
    void *status;
    size_t size;
    assert_int_equal(fd_read_file(path, sizeof(text), &status, &size), 0);
    char *phase = strstr(status, "phase='active'");
    assert_non_null(phase);
    snprintf(text, sizeof(text), "%.*sphase='starting'%s", (int)(phase - (char *)status), (char *)status,
             phase + strlen("phase='active'"));
    free(status);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
    fd_close(&fd);
    reopen();
    assert_false(network_is_active(networks_find(networks, "private1")));
    assert_int_equal(if_nametoindex("virbr1"), 0);
    assert_int_equal(files_in(run_directory), 0);
    assert_int_equal(find_dnsmasq("private1"), -1);
}

static void refused(const char *xml, int code, const char *sentence)
{
    struct err err = ERR_INIT;
    struct network *network = NULL;
    assert_int_equal(network_define(networks, xml, &network, &err), code);
    assert_null(network);
    assert_says(&err, sentence);
}

static void test_rivals(void **state)
{
    struct err err = ERR_INIT;
    char xml[512], uuid[UUID_TEXT_SIZE];
    need_namespace();
    struct network *network = define(private1);
    refused("<network><name>other</name><bridge name='virbr1'/></network>", -EEXIST,
            "bridge virbr1 of network other belongs to network private1");
    uuid_format(network_uuid(network), uuid);
    snprintf(xml, sizeof(xml), "<network><name>other</name><uuid>%s</uuid></network>", uuid);
    refused(xml, -EEXIST, "is that of network private1");
    refused("<network><name>private1</name><uuid>00000000-0000-4000-8000-000000000001</uuid></network>", -EEXIST,
            "exists already, with UUID");
    /* The same again is a new definition of the same. */
    uint8_t old[UUID_SIZE];
    memcpy(old, network_uuid(network), UUID_SIZE);
    assert_ptr_equal(define(private1), network);
    assert_true(uuid_equal(old, network_uuid(network)));
    start(network);
    network = define("<network><name>overlap</name><ip address='172.16.10.9' prefix='28'/></network>");
    assert_int_equal(network_start(network, &err), -EEXIST);
    assert_says(
        &err,
        "network overlap (172.16.10.0/28) overlaps with 172.16.10.0/24, which this host reaches by interface virbr1");
    assert_int_equal(run_shell("ip link add virbr5 type bridge"), 0);
    network = define("<network><name>taken</name><bridge name='virbr5'/></network>");
    assert_int_equal(network_start(network, &err), -EEXIST);
    assert_says(&err, "there is an interface called virbr5");
    assert_true(if_nametoindex("virbr5") != 0); /* not ours, so it stays */
    assert_int_equal(run_shell("ip link del virbr5"), 0);
}

static void test_a_failed_start_leaves_nothing(void **state)
{
    struct err err = ERR_INIT;
    need_namespace();
    networks_close(networks);
    struct networks_options options = {.config_directory = config_directory,
                                       .run_directory = run_directory,
                                       .lease_directory = lease_directory,
                                       .dnsmasq = "false"};
    assert_int_equal(networks_open(&options, &networks, &err), 0);
    struct network *network = define(private1);
    assert_int_equal(network_start(network, &err), -EIO);
    assert_says(&err, "false failed");
    assert_int_equal(if_nametoindex("virbr1"), 0);
    assert_int_equal(files_in(run_directory), 0);
    options.dnsmasq = "no-such-program";
    networks_close(networks);
    assert_int_equal(networks_open(&options, &networks, &err), 0);
    assert_int_equal(network_start(networks_find(networks, "private1"), &err), -ENOENT);
    assert_says(&err, "cannot run no-such-program");
}

static void test_tap(void **state)
{
    static const uint8_t card[6] = {0x52, 0x54, 0, 1, 2, 3}, expected[6] = {0xfe, 0x54, 0, 1, 2, 3};
    struct err err = ERR_INIT;
    struct tap tap = {.fd = -1}, second = {.fd = -1};
    struct link_status status;
    need_namespace();
    struct network *network = define(private1);
    assert_int_equal(network_tap(network, NULL, card, &tap, &err), -ENOTCONN);
    assert_says(&err, "virsh net-start private1");
    assert_int_equal(tap.fd, -1);
    start(network);
    assert_int_equal(network_tap(network, NULL, card, &tap, &err), 0);
    assert_int_equal(network_tap(network, NULL, card, &second, &err), 0);
    assert_string_equal(tap.name, "vnet0");
    assert_string_equal(second.name, "vnet1");
    assert_int_equal(link_query("vnet0", &status, &err), 0);
    assert_memory_equal(status.mac, expected, 6);
    assert_true(status.up);
    assert_int_equal(run_shell("ip -o link show master virbr1 | grep -q vnet1"), 0);
    fd_close(&tap.fd);
    fd_close(&second.fd);
    assert_int_equal(link_query("vnet0", &status, &err), 0);
    assert_false(status.exists);
    assert_int_equal(tap_open("virbr9", NULL, card, 0, &tap, &err), -ENODEV);
    assert_int_equal(tap_open("lo", NULL, card, 0, &tap, &err), -EINVAL);
    assert_says(&err, "lo is not a bridge");
}

static void test_update(void **state)
{
    struct err err = ERR_INIT;
    char path[160];
    void *text;
    size_t size;
    need_namespace();
    struct network *network = define(private1);
    assert_int_equal(network_update(network, NETWORK_UPDATE_ADD_LAST, NETWORK_SECTION_DHCP_HOST,
                                    "<host mac='52:54:00:00:00:01' ip='172.16.10.7'/>", NETWORK_AFFECT_LIVE, &err),
                     -ENOTCONN);
    start(network);
    int before = find_dnsmasq("private1");
    assert_int_equal(network_update(network, NETWORK_UPDATE_ADD_LAST, NETWORK_SECTION_DHCP_HOST,
                                    "<host mac='52:54:00:00:00:01' ip='172.16.10.7'/>",
                                    NETWORK_AFFECT_LIVE | NETWORK_AFFECT_CONFIG, &err),
                     0);
    snprintf(path, sizeof(path), "%s/private1.hostsfile", run_directory);
    assert_int_equal(fd_read_file(path, 4096, &text, &size), 0);
    assert_string_equal(text, "52:54:00:00:00:01,172.16.10.7\n");
    free(text);
    struct pollfd ended = {.fd = before, .events = POLLIN};
    assert_int_equal(poll(&ended, 1, 100), 0); /* the same dnsmasq: told, not started anew */
    assert_int_equal(network_update(network, NETWORK_UPDATE_DELETE, NETWORK_SECTION_DHCP_RANGE,
                                    "<range start='172.16.10.101' end='172.16.10.199'/>", 0, &err),
                     0);
    assert_int_equal(poll(&ended, 1, 5000), 1);
    fd_close(&before);
    reopen();
    network = networks_find(networks, "private1");
    assert_int_equal(network_definition(network)->ip4.hosts.count, 1);
    assert_int_equal(network_definition(network)->ip4.ranges.count, 0); /* live only */
    struct buffer xml = BUFFER_INIT(65536);
    assert_int_equal(network_xml(network, true, &xml), 0);
    assert_non_null(strstr((char *)xml.data, "<range start='172.16.10.101' end='172.16.10.199'/>"));
    assert_non_null(strstr((char *)xml.data, "<host mac='52:54:00:00:00:01' ip='172.16.10.7'/>"));
    buffer_fini(&xml);
}

static void test_leases(void **state)
{
    struct err err = ERR_INIT;
    struct dhcp_lease *leases, lease;
    size_t count;
    char path[160];
    need_namespace();
    struct network *network = define(private1);
    assert_int_equal(network_leases(network, &leases, &count, &err), -ENOTCONN);
    start(network);
    snprintf(path, sizeof(path), "%s/private1.leases", lease_directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    static const char text[] = "1 52:54:00:00:00:01 172.16.10.101 old *\n"
                               "4000000000 52:54:00:00:00:02 172.16.10.102 fw1 01:52:54:00:00:00:02\n"
                               "garbage\n"
                               "0 52:54:00:00:00:03 172.16.10.103 * *\n";
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
    fd_close(&fd);
    assert_int_equal(network_leases(network, &leases, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_string_equal(leases[0].hostname, "fw1");
    assert_string_equal(leases[0].client_id, "01:52:54:00:00:00:02");
    assert_int_equal(leases[1].expiry, 0);
    assert_string_equal(leases[1].hostname, "");
    free(leases);
    assert_int_equal(dnsmasq_parse_lease("4000000000 1193046 fd00::123 fw6 00:03:00:01:52:54:00:12:34:56", &lease), 0);
    assert_true(lease.has_mac);
    assert_memory_equal(lease.mac, "\x52\x54\x00\x12\x34\x56", 6);
    assert_string_equal(lease.iaid, "1193046");
    assert_string_equal(ip_text(&lease.ip).text, "fd00::123");
    assert_int_equal(dnsmasq_parse_lease("4000000000 7 fd00::124 * 00:01:00:01:2c:11:22:33:52:54:00:12:34:57", &lease), 0);
    assert_true(lease.has_mac);
    assert_int_equal(lease.mac[5], 0x57);
    assert_int_equal(dnsmasq_parse_lease("4000000000 7 fd00::124 * 00:04:01:02:03", &lease), 0);
    assert_false(lease.has_mac);
    assert_int_equal(dnsmasq_parse_lease("duid 00:01:00:01", &lease), -EINVAL);
    assert_int_equal(dnsmasq_parse_lease("4000000000 06-52:54:00 172.16.10.102 * *", &lease), -EINVAL);
}

static void test_firewall(void **state)
{
    struct err err = ERR_INIT;
    need_namespace();
    assert_int_equal(run_shell("nft add table ip other && nft add chain ip other c"), 0);
    struct network *first = define(nat);
    start(first);
    assert_int_equal(run_shell("nft list table inet ferry | grep -q masquerade"), 0);
    assert_int_equal(run_shell("test $(cat /proc/sys/net/ipv4/ip_forward) = 1"), 0);
    struct network *second = define(
        "<network><name>routed</name><forward mode='route' dev='lo'/><ip address='10.99.0.1' prefix='24'/></network>");
    start(second);
    assert_int_equal(
        run_shell(
            "nft list table inet ferry | grep -q 'iifname \"lo\" oifname \"virbr1\" ip daddr 10.99.0.0/24 accept'"),
        0);
    assert_int_equal(network_destroy(first, &err), 0);
    assert_int_equal(run_shell("nft list table inet ferry | grep -q masquerade"), -EIO);
    assert_int_equal(network_destroy(second, &err), 0);
    assert_int_equal(run_shell("nft list table inet ferry"), -EIO);
    assert_int_equal(run_shell("nft list table ip other && nft delete table ip other"), 0);
}

static void test_host_bridge(void **state)
{
    struct err err = ERR_INIT;
    need_namespace();
    struct network *network = define("<network><name>lan</name><forward mode='bridge'/><bridge name='br7'/></network>");
    assert_int_equal(network_start(network, &err), -ENODEV);
    assert_says(&err, "network lan needs bridge br7, which this host does not have");
    assert_int_equal(run_shell("ip link add br7 type bridge"), 0);
    start(network);
    reopen();
    network = networks_find(networks, "lan");
    assert_true(network_is_active(network));
    assert_int_equal(network_destroy(network, &err), 0);
    assert_int_equal(run_shell("ip link del br7"), 0);
}

static void test_default(void **state)
{
    struct err err = ERR_INIT;
    char command[128];
    need_namespace();
    networks_close(networks);
    snprintf(command, sizeof(command), "rm -r %s", config_directory);
    assert_int_equal(run_shell(command), 0);
    open_networks();
    assert_int_equal(networks_define_default(networks, true, &err), 0);
    networks_autostart(networks);
    struct network *network = networks_find(networks, "default");
    assert_true(network_is_active(network) && network_autostart(network));
    assert_int_equal(network_destroy(network, &err), 0);
    assert_int_equal(network_undefine(network, &err), 0);
    reopen();
    assert_int_equal(networks_define_default(networks, true, &err), 0);
    assert_int_equal(networks_count(networks), 0); /* somebody did not want it */
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, start_test, end_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_life),         TEST(test_transient),   TEST(test_found_again),
        TEST(test_half_started), TEST(test_rivals),      TEST(test_a_failed_start_leaves_nothing),
        TEST(test_tap),          TEST(test_update),      TEST(test_leases),
        TEST(test_firewall),     TEST(test_host_bridge), TEST(test_default),
    };
    return cmocka_run_group_tests(tests, enter_namespace, leave);
}
