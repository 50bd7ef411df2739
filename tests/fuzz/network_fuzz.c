/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: <network> documents and fragments of updates; what is accepted reads back the same, and its
 * configuration of dnsmasq has one line for each of ours. */
#include <assert.h>

#include "base/buffer.h"
#include "base/err.h"
#include "fuzz.h"
#include "network/definition.h"
#include "network/dnsmasq.h"
#include "network/firewall.h"

static void check_same(const struct network_definition *definition)
{
    struct buffer first = BUFFER_INIT(8u << 20), second = BUFFER_INIT(8u << 20);
    struct network_definition *again = NULL;
    if (network_definition_format(definition, &first) == 0) {
        struct err err = ERR_INIT;
        int r = network_definition_parse((const char *)first.data, &again, &err);
        if (r < 0)
            fprintf(stderr, "%s\n%s\n", err.message, (const char *)first.data);
        assert(r == 0);
        assert(network_definition_format(again, &second) == 0);
        bool kept = definition->metadata != NULL || definition->foreign != NULL; /* as libxml2 lays it out */
        assert(kept || strcmp((const char *)first.data, (const char *)second.data) == 0);
    }
    network_definition_free(again);
    buffer_fini(&first);
    buffer_fini(&second);
}

/* No text of a document but a <dnsmasq:option> may bring an option of its own into the file. */
static void check_configuration(const struct network_definition *definition)
{
    static const char *const options[] = {"#",
                                          "user",
                                          "strict-order",
                                          "no-hosts",
                                          "bind-dynamic",
                                          "except-interface",
                                          "interface",
                                          "pid-file",
                                          "addn-hosts",
                                          "dhcp-hostsfile",
                                          "dhcp-leasefile",
                                          "domain",
                                          "expand-hosts",
                                          "local",
                                          "port",
                                          "domain-needed",
                                          "no-resolv",
                                          "server",
                                          "txt-record",
                                          "srv-host",
                                          "dhcp-range",
                                          "dhcp-option",
                                          "dhcp-no-override",
                                          "dhcp-authoritative",
                                          "dhcp-lease-max",
                                          "dhcp-boot",
                                          "enable-ra",
                                          "ra-param",
                                          "enable-tftp",
                                          "tftp-root"};
    struct dnsmasq_place place = {
        .program = "dnsmasq", .user = "nobody", .run_directory = "/run/x", .lease_directory = "/var/x"};
    struct buffer out = BUFFER_INIT(8u << 20);
    char *state = NULL;
    if (definition->dnsmasq_options.count > 0 || dnsmasq_format(&place, definition, &out) < 0) {
        buffer_fini(&out);
        return;
    }
    for (char *line = strtok_r((char *)out.data, "\n", &state); line != NULL; line = strtok_r(NULL, "\n", &state)) {
        size_t i = 0, count = sizeof(options) / sizeof(options[0]), length = line[0] == '#' ? 1 : strcspn(line, "=");
        while (i < count && (strlen(options[i]) != length || strncmp(options[i], line, length) != 0))
            i++;
        if (i == count)
            fprintf(stderr, "%s\n", line);
        assert(i < count);
    }
    buffer_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct network_definition *definition;
    struct dhcp_lease lease;
    struct err err = ERR_INIT;
    struct buffer rules = BUFFER_INIT(1u << 20);
    char *text = fuzz_text(data, size);
    if (text == NULL)
        return 0;
    dnsmasq_parse_lease(text, &lease);
    char *fragment = strchr(text, '\n');
    if (fragment != NULL)
        *fragment++ = '\0';
    if (network_definition_parse(text, &definition, &err) == 0) {
        if (fragment != NULL && fragment[0] != '\0')
            network_definition_update(definition, (unsigned char)fragment[0] % 5, size % 14, fragment + 1, &err);
        check_same(definition);
        check_configuration(definition);
        firewall_format((const struct network_definition *const[]){definition}, 1, &rules);
        network_definition_free(definition);
    }
    buffer_fini(&rules);
    free(text);
    return 0;
}

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    static const char *const seeds[] = {
        ("<network><name>p</name><bridge name='virbr1'/><ip address='172.16.10.1' netmask='255.255.255.0'><dhcp>"
         "<range start='172.16.10.101' end='172.16.10.199'/><host mac='52:54:00:00:00:01' name='a' "
         "ip='172.16.10.2'/></dhcp></ip></network>\n"
         "3<host mac='52:54:00:00:00:02' ip='172.16.10.3'/>"),
        ("<network><name>n</name><forward mode='nat' dev='eth0'><nat><address start='1.2.3.4' end='1.2.3.9'/><port "
         "start='1' end='2'/></nat>"
         "</forward><domain name='d' localOnly='yes'/><dns><forwarder addr='9.9.9.9' domain='x'/><txt name='t' "
         "value='v'/>"
         "<srv service='s' protocol='tcp' target='h' port='1'/><host ip='1.1.1.1'><hostname>h</hostname></host></dns>"
         "<ip address='10.0.0.1' prefix='8'><tftp root='/t'/><dhcp><bootp file='f' server='s'/></dhcp></ip></network>"),
        ("<network><name>b</name><metadata><x:y xmlns:x='u'/></metadata><forward mode='bridge'/><bridge "
         "name='br0'/></network>"),
        ("<network ipv6='yes'><name>s</name><forward mode='nat'><nat ipv6='yes'/></forward><mtu size='1400'/><ip family='ipv6' "
         "address='fd00::1' prefix='64'><dhcp><range start='fd00::10' end='fd00::20'/><host id='00:03:00:01:52:54:00:12:34:56' "
         "ip='fd00::7'/></dhcp></ip><route family='ipv6' address='fd01::' prefix='64' gateway='fd00::7' metric='2'/>"
         "<dns><host ip='fd00::9'><hostname>n</hostname></host></dns></network>\n"
         "3<range start='fd00::30' end='fd00::40'/>"),
        ("<network><name>o</name><bridge name='b'/><ip address='10.0.0.1' prefix='8'/><f:overlay xmlns:f='urn:ferry:network:1' vni='1' "
         "local='192.0.2.1' port='9'><f:peer address='192.0.2.2'/></f:overlay><x:a xmlns:x='u'/><d:options "
         "xmlns:d='http://libvirt.org/schemas/network/dnsmasq/1.0'><d:option value='a=b'/></d:options></network>"),
        "4000000000 7 fd00::124 * 00:01:00:01:2c:11:22:33:52:54:00:12:34:57",
        "4000000000 52:54:00:00:00:02 172.16.10.102 fw1 01:52:54:00:00:00:02",
    };
    return fuzz_text_seed(seeds, sizeof(seeds) / sizeof(seeds[0]), index, out, max);
}
