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
    assert_int_equal(definition->ip4.net.prefix, 24);
    assert_int_equal(definition->ip4.ranges.count, 1);
    assert_string_equal(ip_text(&definition->ip4.ranges.items[0].end).text, "172.16.10.199");
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
    refused("<ip address='172.16.10'/>", "'172.16.10' of <ip> is not an IP address");
    refused("<ip address='fd00::1' prefix='64'/>", "<ip> has an address of IPv6, fd00::1");
    refused("<ip family='ipv6' address='10.0.0.1' prefix='24'/>", "<ip family='ipv6'> has an address of IPv4, 10.0.0.1");
    refused("<ip family='ipx' address='10.0.0.1'/>", "neither ipv4 nor ipv6");
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
    refused("<colour/>", "element <colour> in <network> in line 1 is not supported");
    refused("<vlan/>", "element <vlan> in <network> is not supported: bridges here carry no VLAN tags");
    refused("<bandwidth/>", "the rate of a network can't be limited here");
    refused("<portgroup name='a'/>", "ports of a network are all alike here");
    refused("<mtu size='1000'/><ip family='ipv6' address='fd00::1'/>", "an IPv6 network needs 1280 bytes");
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

#define IP6 "<ip family='ipv6' address='fd00::1' prefix='64'>"

static void test_refused_ipv6(void **state)
{
    refused("<ip family='ipv6' address='fe80::1'/>", "not a global or unique local unicast address");
    refused("<ip family='ipv6' address='ff02::1'/>", "not a global or unique local unicast address");
    refused("<ip family='ipv6' address='::1'/>", "not a global or unique local unicast address");
    refused("<ip family='ipv6' address='fd00::1' prefix='48'/>",
            "fd00::1/48 can't be announced to guests; the prefix must be from 64 to 126");
    refused("<ip family='ipv6' address='fd00::1' prefix='129'/>", "is not a number from 0 to 128");
    refused("<ip family='ipv6' address='fd00::'/>", "is the first address of its network");
    refused("<ip family='ipv6' address='fd00::1' netmask='255.255.255.0'/>", "IPv6 has prefixes");
    refused(IP6 "</ip>" IP6 "</ip>", "several <ip> elements of IPv6");
    refused(IP6 "<dhcp><range start='fd01::1' end='fd01::9'/></dhcp></ip>",
            "the DHCP range fd01::1 to fd01::9 lies outside the network fd00::/64 (which <ip address='fd00::1'> says)");
    refused(IP6 "<dhcp><range start='10.0.0.1' end='10.0.0.9'/></dhcp></ip>", "lies outside the network fd00::/64");
    refused(IP6 "<dhcp><range start='fd00::10' end='fd00::ffff:0'/></dhcp></ip>", "has more than 65535 addresses");
    refused(IP6 "<dhcp><host mac='52:54:00:00:00:01' ip='fd00::2'/></dhcp></ip>", "DHCPv6 tells no MAC addresses");
    refused(IP6 "<dhcp><host id='0:1' ip='fd00::2'/></dhcp></ip>", "is not a DUID");
    refused(IP6 "<dhcp><host id='00:01:02,x' ip='fd00::2'/></dhcp></ip>", "is not a DUID");
    refused(IP6 "<dhcp><bootp file='a'/></dhcp></ip>", "element <bootp> in <dhcp>");
    refused(IP6 "<tftp root='/a'/></ip>", "belongs into the <ip> of IPv4");
    refused(IP "<dhcp><host id='00:01:02' ip='172.16.10.2'/></dhcp></ip>", "belongs to IPv6");
}

static void test_refused_routes(void **state)
{
    refused(IP "</ip><route address='10.0.0.0' prefix='8' gateway='10.0.0.1'/>", "its gateway 10.0.0.1 lies outside the network");
    refused(IP "</ip><route address='10.0.0.0' prefix='8' gateway='172.16.10.1'/>", "is the host itself");
    refused(IP "</ip><route address='10.0.0.1' prefix='8' gateway='172.16.10.2'/>", "is no network of prefix 8; that is 10.0.0.0");
    refused(IP "</ip><route address='172.16.0.0' prefix='16' gateway='172.16.10.2'/>", "overlaps the network itself");
    refused(IP "</ip><route address='10.0.0.0' prefix='8'/>", "has no attribute gateway");
    refused(IP "</ip><route family='ipv6' address='fd01::' prefix='64' gateway='172.16.10.2'/>", "is of another family");
}

#define OVERLAY(attributes, inside) "<f:overlay xmlns:f='urn:ferry:network:1' " attributes ">" inside "</f:overlay>"

static void test_refused_namespaces(void **state)
{
    refused(OVERLAY("vni='1' local='10.0.0.1'", ""), "has no <peer address='...'/>");
    refused(OVERLAY("vni='0' local='10.0.0.1'", "<f:peer address='10.0.0.2'/>"), "needs a vni from 1 to 16777215");
    refused(OVERLAY("vni='16777216' local='10.0.0.1'", "<f:peer address='10.0.0.2'/>"), "is not a number from 0 to 16777215");
    refused(OVERLAY("vni='1'", "<f:peer address='10.0.0.2'/>"), "has no attribute local");
    refused(OVERLAY("vni='1' local='10.0.0.1'", "<f:peer address='fd00::2'/>"), "are of different families");
    refused(OVERLAY("vni='1' local='10.0.0.1'", "<f:peer address='10.0.0.1'/>"), "is this host itself");
    refused(OVERLAY("vni='1' local='10.0.0.1'", "<f:peer address='10.0.0.2'/><f:peer address='10.0.0.2'/>"), "stands twice");
    refused(OVERLAY("vni='1' local='10.0.0.1'", "<f:pear/>"), "element <pear> in <overlay> in line 1 is not supported; there is <peer>");
    refused("<bridge name='thirteen-char'/>" OVERLAY("vni='1' local='10.0.0.1'", "<f:peer address='10.0.0.2'/>"), "at most 12 characters");
    refused("<f:other xmlns:f='urn:ferry:network:1'/>", "element <other> in line 1 is none of namespace urn:ferry:network:1");
    refused("<d:options xmlns:d='http://libvirt.org/schemas/network/dnsmasq/1.0'><d:option value='a&#10;b'/></d:options>",
            "control characters");
    refused(IP "<x:a xmlns:x='urn:x'/></ip>", "element <a> of namespace urn:x in <ip> would be lost there; <metadata> keeps it");
    refused("<bridge xmlns:x='urn:x' x:b='c' name='a'/>", "attribute b of namespace urn:x in <bridge> would be lost");
}

static void test_ipv6_and_namespaces_are_written_again(void **state)
{
    static const char xml[] = "<network ipv6='yes'>\n"
                              "  <name>six</name>\n"
                              "  <forward mode='nat'>\n"
                              "    <nat ipv6='yes'>\n"
                              "      <port start='1024' end='65535'/>\n"
                              "    </nat>\n"
                              "  </forward>\n"
                              "  <bridge stp='off' delay='0'/>\n"
                              "  <dns>\n"
                              "    <forwarder addr='2001:db8::53'/>\n"
                              "    <host ip='fd00::9'>\n"
                              "      <hostname>nine</hostname>\n"
                              "    </host>\n"
                              "  </dns>\n"
                              "  <ip address='172.16.10.1' netmask='255.255.255.0'/>\n"
                              "  <ip family='ipv6' address='fd00::1' prefix='64'>\n"
                              "    <dhcp>\n"
                              "      <range start='fd00::100' end='fd00::1ff'/>\n"
                              "      <host id='00:03:00:01:52:54:00:12:34:56' name='seven' ip='fd00::7'/>\n"
                              "    </dhcp>\n"
                              "  </ip>\n"
                              "  <route family='ipv6' address='fd01::' prefix='64' gateway='fd00::7'/>\n"
                              "  <route address='10.0.0.0' netmask='255.0.0.0' gateway='172.16.10.7' metric='3'/>\n"
                              "  <ferry:overlay xmlns:ferry='urn:ferry:network:1' vni='10' local='192.0.2.1' port='4790'>\n"
                              "    <ferry:peer address='192.0.2.2'/>\n"
                              "  </ferry:overlay>\n"
                              "  <dnsmasq:options xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>\n"
                              "    <dnsmasq:option value='dhcp-option=42,172.16.10.9'/>\n"
                              "  </dnsmasq:options>\n"
                              "  <x:a xmlns:x=\"urn:other\"><x:b c=\"d\"/></x:a>\n"
                              "  <x:e xmlns:x=\"urn:other\"/>\n"
                              "</network>\n";
    struct network_definition *definition = parse(xml), *copy = NULL;
    struct buffer once = BUFFER_INIT(65536);
    assert_int_equal(network_definition_format(definition, &once), 0);
    assert_int_equal(network_definition_copy(definition, &copy), 0);
    writes(copy, (const char *)once.data); /* libxml2 breaks the lines within what it keeps */
    assert_memory_equal(once.data, xml, strstr(xml, "  <x:a") - xml);
    assert_non_null(strstr((const char *)once.data, "<x:b c=\"d\"/>"));
    assert_non_null(strstr((const char *)once.data, "<x:e xmlns:x=\"urn:other\"/>"));
    buffer_fini(&once);
    network_definition_free(copy);
    network_definition_free(definition);
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
    assert_int_equal(definition->ip4.hosts.count, 2);
    assert_int_equal(definition->ip4.hosts.items[0].mac[5], 2);
    assert_int_equal(update(definition, 3, 4, "<host mac='52:54:00:00:00:02' ip='172.16.10.4'/>", &err), -EINVAL);
    assert_says(&err, "two DHCP hosts");
    assert_int_equal(definition->ip4.hosts.count, 2);
    assert_int_equal(update(definition, 1, 4, "<host mac='52:54:00:00:00:02' ip='172.16.10.9'/>", &err), 0);
    assert_int_equal(definition->ip4.hosts.items[0].ip.bytes[3], 9);
    assert_int_equal(update(definition, 2, 4, "<host mac='52:54:00:00:00:02'/>", &err), 0);
    assert_int_equal(definition->ip4.hosts.count, 1);
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
    assert_says(&err, "section domain of a network can't be updated");
    assert_int_equal(update(definition, 3, 7, "<interface dev='eth0'/>", &err), -EINVAL);
    assert_says(&err, "an isolated network has no <forward>");
    assert_int_equal(update(definition, 3, 4, "<host id='00:03:00:01:52:54:00:12:34:56' ip='fd00::2'/>", &err), -EINVAL);
    assert_says(&err, "the network has no <ip> of IPv6 that a <host> could belong to");
    assert_int_equal(update(definition, 9, 4, "<host/>", &err), -EINVAL);
    network_definition_free(definition);
}

static void test_update_ipv6_and_forward(void **state)
{
    struct err err;
    struct network_definition *definition = parse("<network><name>n</name><forward mode='route'/>" IP6 "</ip></network>");
    assert_int_equal(update(definition, 3, 5, "<range start='fd00::10' end='fd00::20'/>", &err), 0);
    assert_int_equal(update(definition, 3, 4, "<host id='00:03:00:01:52:54:00:12:34:56' ip='fd00::2'/>", &err), 0);
    assert_int_equal(update(definition, 3, 4, "<host id='00:03:00:01:52:54:00:12:34:56' ip='fd00::3'/>", &err), -EINVAL);
    assert_says(&err, "two DHCP hosts have the id");
    assert_int_equal(update(definition, 2, 4, "<host id='00:03:00:01:52:54:00:12:34:56'/>", &err), 0);
    assert_int_equal(definition->ip6.hosts.count, 0);
    assert_int_equal(definition->ip6.ranges.count, 1);
    assert_int_equal(update(definition, 3, 7, "<interface dev='eth0'/>", &err), 0);
    assert_string_equal(definition->forward_dev, "eth0");
    assert_int_equal(update(definition, 3, 7, "<interface dev='eth1'/>", &err), -ENOTSUP);
    assert_int_equal(update(definition, 2, 7, "<interface dev='eth1'/>", &err), -ENOENT);
    assert_int_equal(update(definition, 2, 7, "<interface dev='eth0'/>", &err), 0);
    assert_string_equal(definition->forward_dev, "");
    network_definition_free(definition);
}

static void test_addresses(void **state)
{
    struct ip_address a, b;
    struct ip_net net;
    unsigned prefix;
    assert_int_equal(ip_parse("10.0.0.256", &a), -EINVAL);
    assert_int_equal(ip_parse("", &a), -EINVAL);
    assert_int_equal(ip_parse("fd00::g", &a), -EINVAL);
    assert_int_equal(ip_parse("10.0.0.255", &a), 0);
    assert_int_equal(ip_parse("10.0.2.1", &b), 0);
    assert_int_equal(ip_count(&a, &b), 259);
    assert_int_equal(ip_count(&a, &a), 1);
    assert_true(ip_compare(&a, &b) < 0);
    net = (struct ip_net){a, 23};
    assert_false(ip_contains(&net, &b));
    assert_string_equal(ip_net_text(&net).text, "10.0.0.0/23");
    assert_int_equal(ip_parse("fd00::", &a), 0);
    assert_int_equal(ip_parse("fd01::", &b), 0);
    assert_int_equal(ip_count(&a, &b), UINT64_MAX);
    assert_false(ip_contains(&net, &a));
    assert_true(ip_overlap(&(struct ip_net){a, 8}, &(struct ip_net){b, 16}));
    assert_false(ip_overlap(&(struct ip_net){a, 16}, &(struct ip_net){b, 16}));
    assert_int_equal(ip_parse("255.255.254.0", &a), 0);
    assert_int_equal(ip_prefix_of_mask(&a, &prefix), 0);
    assert_int_equal(prefix, 23);
    assert_int_equal(ip_parse("255.0.255.0", &a), 0);
    assert_int_equal(ip_prefix_of_mask(&a, &prefix), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_private1),          cmocka_unit_test(test_everything_is_written_again),
        cmocka_unit_test(test_defaults),          cmocka_unit_test(test_the_mistyped_address),
        cmocka_unit_test(test_refused_addresses), cmocka_unit_test(test_refused_hosts),
        cmocka_unit_test(test_refused_ipv6), cmocka_unit_test(test_refused_routes), cmocka_unit_test(test_refused_namespaces),
        cmocka_unit_test(test_ipv6_and_namespaces_are_written_again),
        cmocka_unit_test(test_update_ipv6_and_forward), cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_refused_others),    cmocka_unit_test(test_names),
        cmocka_unit_test(test_update_hosts),      cmocka_unit_test(test_update_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
