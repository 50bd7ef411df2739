/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests: libvirt's <network> documents read, refused with the right sentence, changed and written again. */
#include "check.h"

#include <errno.h>

#include "base/buffer.h"
#include "base/err.h"
#include "network/definition.h"

#define IP "<ip address='172.16.10.1' netmask='255.255.255.0'>"

static struct network_definition *parse(const char *xml)
{
    struct network_definition *definition = NULL;
    struct err err = ERR_INIT;
    if (network_definition_parse(xml, &definition, &err) < 0)
        fail_msg("%s: %s", xml, err.message);
    return definition;
}

static void assert_says(const struct err *err, const char *sentence)
{
    if (strstr(err->message, sentence) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err->message, sentence);
}

/* inside: what stands behind the name. */
static void refused(const char *inside, const char *sentence)
{
    struct network_definition *definition = NULL;
    struct err err = ERR_INIT;
    char xml[2048];
    snprintf(xml, sizeof(xml), "<network><name>n</name>%s</network>", inside);
    if (network_definition_parse(xml, &definition, &err) == 0)
        fail_msg("%s is accepted", inside);
    assert_null(definition);
    assert_says(&err, sentence);
}

static void writes(const struct network_definition *definition, const char *expected)
{
    struct buffer out = BUFFER_INIT(65536);
    assert_int_equal(network_definition_format(definition, &out), 0);
    assert_string_equal(out.data, expected);
    buffer_fini(&out);
}

static void test_private1(void **state)
{
    struct network_definition *definition =
        parse("<network><name>private1</name><bridge name='virbr1'/>" IP
              "<dhcp><range start='172.16.10.101' end='172.16.10.199'/></dhcp></ip></network>");
    assert_string_equal(definition->name, "private1");
    assert_string_equal(definition->bridge, "virbr1");
    assert_int_equal(definition->forward, NETWORK_ISOLATED);
    assert_int_equal(definition->ip.prefix, 24);
    assert_int_equal(definition->ranges.count, 1);
    assert_int_equal(definition->ranges.items[0].end, 0xac100ac7);
    network_definition_free(definition);
}

static void test_everything_is_written_again(void **state)
{
    static const char xml[] = "<network>\n"
                              "  <name>all</name>\n"
                              "  <uuid>01234567-89ab-cdef-0123-456789abcdef</uuid>\n"
                              "  <metadata>\n"
                              "    <x:a xmlns:x=\"urn:x\">t</x:a>\n"
                              "  </metadata>\n"
                              "  <forward dev='eth0' mode='nat'>\n"
                              "    <nat>\n"
                              "      <address start='203.0.113.1' end='203.0.113.9'/>\n"
                              "      <port start='2000' end='3000'/>\n"
                              "    </nat>\n"
                              "    <interface dev='eth0'/>\n"
                              "  </forward>\n"
                              "  <bridge name='virbr7' stp='on' delay='3'/>\n"
                              "  <mtu size='9000'/>\n"
                              "  <mac address='52:54:00:01:02:03'/>\n"
                              "  <domain name='lab.example' localOnly='yes'/>\n"
                              "  <dns forwardPlainNames='no'>\n"
                              "    <forwarder domain='corp.example' addr='10.0.0.53'/>\n"
                              "    <txt name='a.lab.example' value='some text'/>\n"
                              "    <srv service='ldap' protocol='tcp' domain='lab.example' target='l.lab.example' "
                              "port='389' priority='1' weight='2'/>\n"
                              "    <host ip='172.16.10.2'>\n"
                              "      <hostname>one</hostname>\n"
                              "      <hostname>two</hostname>\n"
                              "    </host>\n"
                              "  </dns>\n"
                              "  <ip address='172.16.10.1' prefix='24'>\n"
                              "    <tftp root='/srv/tftp'/>\n"
                              "    <dhcp>\n"
                              "      <range start='172.16.10.101' end='172.16.10.199'>\n"
                              "        <lease expiry='7200' unit='seconds'/>\n"
                              "      </range>\n"
                              "      <range start='172.16.10.201' end='172.16.10.201'>\n"
                              "        <lease expiry='0' unit='seconds'/>\n"
                              "      </range>\n"
                              "      <host mac='52:54:00:00:00:77' name='fw1' ip='172.16.10.7'/>\n"
                              "      <bootp file='pxelinux.0' server='172.16.10.1'/>\n"
                              "    </dhcp>\n"
                              "  </ip>\n"
                              "</network>\n";
    struct network_definition *definition = parse(xml), *copy = NULL;
    writes(definition, xml);
    assert_int_equal(network_definition_copy(definition, &copy), 0);
    writes(copy, xml);
    network_definition_free(copy);
    network_definition_free(definition);
}

static void test_defaults(void **state)
{
    struct network_definition *definition =
        parse("<network connections='1'><name>d</name><forward/><bridge name='virbr%d'/>"
              "<ip address='192.168.122.1'/></network>");
    writes(definition, "<network>\n"
                       "  <name>d</name>\n"
                       "  <forward mode='nat'>\n"
                       "    <nat>\n"
                       "      <port start='1024' end='65535'/>\n"
                       "    </nat>\n"
                       "  </forward>\n"
                       "  <bridge stp='off' delay='0'/>\n"
                       "  <ip address='192.168.122.1' netmask='255.255.255.0'/>\n"
                       "</network>\n");
    network_definition_free(definition);
    definition = parse("<network><name>b</name><forward mode='bridge'/><bridge name='br0'/></network>");
    writes(definition, "<network>\n  <name>b</name>\n  <forward mode='bridge'/>\n  <bridge name='br0'/>\n</network>\n");
    network_definition_free(definition);
}

static void test_the_mistyped_address(void **state)
{
    refused("<ip address='127.16.10.1' netmask='255.255.255.0'><dhcp><range start='172.16.10.101' "
            "end='172.16.10.199'/></dhcp></ip>",
            "the DHCP range 172.16.10.101 to 172.16.10.199 lies outside the network 127.16.10.0/24");
}

static void test_refused_addresses(void **state)
{
    refused(IP "<dhcp><range start='172.16.10.9' end='172.16.10.2'/></dhcp></ip>",
            "begins at 172.16.10.9 and ends before, at 172.16.10.2");
    refused(IP "<dhcp><range start='172.16.10.0' end='172.16.10.2'/></dhcp></ip>",
            "includes the address of the network");
    refused(IP "<dhcp><range start='172.16.10.200' end='172.16.10.255'/></dhcp></ip>",
            "its broadcast address 172.16.10.255");
    refused(IP "<dhcp><range start='172.16.10.1' end='172.16.10.9'/></dhcp></ip>",
            "includes the host's own address 172.16.10.1");
    refused(IP "<dhcp><range start='172.16.10.5' end='172.16.10.9'/><range start='172.16.10.9' "
               "end='172.16.10.12'/></dhcp></ip>",
            "two DHCP ranges overlap");
    refused("<ip address='10.0.0.1'><dhcp><range start='10.0.0.2' end='10.1.0.9'/></dhcp></ip>",
            "has more than 65535 addresses");
    refused("<ip address='127.0.0.1' prefix='24'/>", "127.0.0.1 can't be the address of a network's bridge");
    refused("<ip address='172.16.10.0' prefix='24'/>", "is the first address of its network");
    refused("<ip address='172.16.10.255' prefix='24'/>", "is the broadcast address of its network");
    refused("<ip address='172.16.10.1' prefix='31'/>", "the prefix must be from 1 to 30");
    refused("<ip address='172.16.10.1' prefix='33'/>", "not a number from 0 to 32");
    refused("<ip address='172.16.10.1' netmask='255.0.255.0'/>", "its ones must all stand in front");
    refused("<ip address='172.16.10.1' netmask='255.255.255.0' prefix='24'/>", "both a netmask and a prefix");
    refused("<ip address='172.16.10'/>", "'172.16.10' of <ip> is not an IPv4 address");
    refused("<ip address='fd00::1' prefix='64'/>", "IPv4 addresses only");
    refused("<ip family='ipv6' address='fd00::1' prefix='64'/>", "IPv4 addresses only");
    refused("<ip/>", "<ip> in line 1 has no attribute address");
    refused(IP "</ip>" IP "</ip>", "several <ip>");
}

static void test_refused_hosts(void **state)
{
#define HOSTS(text) IP "<dhcp>" text "</dhcp></ip>"
    refused(HOSTS("<host mac='52:54:00:00:00:01' ip='172.16.11.2'/>"),
            "172.16.11.2 lies outside the network 172.16.10.0/24");
    refused(HOSTS("<host mac='52:54:00:00:00:01' ip='172.16.10.1'/>"), "has the host's own address");
    refused(HOSTS("<host mac='52:54:00:00:00:01' ip='172.16.10.2'/><host mac='52:54:00:00:00:01' ip='172.16.10.3'/>"),
            "two DHCP hosts have the MAC address 52:54:00:00:00:01");
    refused(HOSTS("<host mac='52:54:00:00:00:01' ip='172.16.10.2'/><host mac='52:54:00:00:00:02' ip='172.16.10.2'/>"),
            "two DHCP hosts have the address 172.16.10.2");
    refused(HOSTS("<host name='A' ip='172.16.10.2'/><host name='a' ip='172.16.10.3'/>"),
            "two DHCP hosts have the name a");
    refused(HOSTS("<host mac='52:54:00:00:00:01'/>"), "nothing to be given");
    refused(HOSTS("<host ip='172.16.10.2'/>"), "neither mac nor name");
    refused(HOSTS("<host mac='x' ip='172.16.10.2'/>"), "is not a MAC address");
    refused(HOSTS("<host mac='01:00:00:00:00:01' ip='172.16.10.2'/>"), "multicast");
    refused(HOSTS("<host mac='52:54:00:00:00:01' name='a&#10;dhcp-script=/x' ip='172.16.10.2'/>"),
            "can't be a host's name");
}

static void test_refused_others(void **state)
{
    refused("<vlan/>", "element <vlan> in <network> in line 1 is not supported");
    refused("<bridge name='a' zone='z'/>", "attribute zone of element <bridge>");
    refused("<bridge name='sixteen-letters-'/>", "longer than 15 bytes");
    refused("<bridge name='a b'/>", "can't be a bridge's name");
    refused("<bridge name='a' stp='maybe'/>", "neither on nor off");
    refused("<forward mode='hostdev'/>", "<forward mode='hostdev'> is not supported");
    refused("<forward mode='nat'/>", "needs an <ip>");
    refused("<forward mode='bridge'/>", "needs a <bridge name='...'>");
    refused("<forward mode='bridge'/><bridge name='br0'/>" IP "</ip>", "have no meaning");
    refused("<forward mode='route'><nat/></forward>" IP "</ip>", "<nat> in <forward mode='route'>");
    refused("<forward mode='nat'><nat><port start='9' end='8'/></nat></forward>" IP "</ip>",
            "NAT ports begin at 9 and end before");
    refused("<uuid>x</uuid>", "'x' in <uuid> is not a UUID");
    refused("<name>m</name>", "<name> in <network> may be there once only");
    refused("<mac address='01:00:00:00:00:01'/>", "multicast");
    refused("<domain name='a..b'/>", "can't be a domain");
    refused("<dns><txt name='a' value='x&#10;y'/></dns>", "without \" \\ # , or control characters");
    refused("<dns><host ip='10.0.0.1'><hostname>a b</hostname></host></dns>", "can't be a host's name");
}

static void test_names(void **state)
{
    static const char *const bad[] = {"", "a/b", ".a", "a&#10;b", "a#b", "a,b", "a\"b"};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct network_definition *definition = NULL;
        struct err err = ERR_INIT;
        char xml[256];
        snprintf(xml, sizeof(xml), "<network><name>%s</name></network>", bad[i]);
        assert_int_equal(network_definition_parse(xml, &definition, &err), -EINVAL);
        assert_says(&err, "name");
    }
}

static int update(struct network_definition *definition, unsigned command, unsigned section, const char *xml,
                  struct err *err)
{
    *err = ERR_INIT;
    return network_definition_update(definition, command, section, xml, err);
}

static void test_update_hosts(void **state)
{
    struct err err;
    struct network_definition *definition = parse("<network><name>n</name>" IP "</ip></network>");
    assert_int_equal(update(definition, 3, 4, "<host mac='52:54:00:00:00:01' ip='172.16.10.2'/>", &err), 0);
    assert_int_equal(update(definition, 4, 4, "<host mac='52:54:00:00:00:02' ip='172.16.10.3'/>", &err), 0);
    assert_int_equal(definition->hosts.count, 2);
    assert_int_equal(definition->hosts.items[0].mac[5], 2);
    assert_int_equal(update(definition, 3, 4, "<host mac='52:54:00:00:00:02' ip='172.16.10.4'/>", &err), -EINVAL);
    assert_says(&err, "two DHCP hosts");
    assert_int_equal(definition->hosts.count, 2);
    assert_int_equal(update(definition, 1, 4, "<host mac='52:54:00:00:00:02' ip='172.16.10.9'/>", &err), 0);
    assert_int_equal(definition->hosts.items[0].ip & 0xff, 9);
    assert_int_equal(update(definition, 2, 4, "<host mac='52:54:00:00:00:02'/>", &err), 0);
    assert_int_equal(definition->hosts.count, 1);
    assert_int_equal(update(definition, 2, 4, "<host mac='52:54:00:00:00:02'/>", &err), -ENOENT);
    assert_says(&err, "no such <host>");
    network_definition_free(definition);
}

static void test_update_others(void **state)
{
    struct err err;
    struct network_definition *definition = parse("<network><name>n</name>" IP "</ip></network>");
    assert_int_equal(update(definition, 3, 5, "<range start='172.16.10.20' end='172.16.10.30'/>", &err), 0);
    assert_int_equal(update(definition, 3, 5, "<range start='172.16.10.25' end='172.16.10.40'/>", &err), -EINVAL);
    assert_int_equal(update(definition, 1, 5, "<range start='172.16.10.20' end='172.16.10.30'/>", &err), -ENOTSUP);
    assert_int_equal(update(definition, 2, 5, "<range start='172.16.10.20' end='172.16.10.30'/>", &err), 0);
    assert_int_equal(
        update(definition, 3, 10, "<host ip='172.16.10.5'><hostname>a</hostname><hostname>b</hostname></host>", &err),
        0);
    assert_int_equal(definition->dns_hosts.count, 2);
    assert_int_equal(update(definition, 2, 10, "<host ip='172.16.10.5'/>", &err), 0);
    assert_int_equal(definition->dns_hosts.count, 0);
    assert_int_equal(update(definition, 3, 11, "<txt name='a' value='b'/>", &err), 0);
    assert_int_equal(update(definition, 2, 11, "<txt name='a'/>", &err), 0);
    assert_int_equal(update(definition, 3, 12, "<srv service='s' protocol='tcp'/>", &err), 0);
    assert_int_equal(update(definition, 2, 12, "<srv service='s' protocol='tcp'/>", &err), 0);
    assert_int_equal(update(definition, 3, 12, "<host/>", &err), -EINVAL);
    assert_int_equal(update(definition, 3, 2, "<ip/>", &err), -ENOTSUP);
    assert_int_equal(update(definition, 9, 4, "<host/>", &err), -EINVAL);
    network_definition_free(definition);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_private1),          cmocka_unit_test(test_everything_is_written_again),
        cmocka_unit_test(test_defaults),          cmocka_unit_test(test_the_mistyped_address),
        cmocka_unit_test(test_refused_addresses), cmocka_unit_test(test_refused_hosts),
        cmocka_unit_test(test_refused_others),    cmocka_unit_test(test_names),
        cmocka_unit_test(test_update_hosts),      cmocka_unit_test(test_update_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
