/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests: what a domain's definition refuses and by which sentence, and its devices, found, added, compared. */
#include "check.h"

#include <errno.h>

#include "base/buffer.h"
#include "base/err.h"
#include "daemon/definition.h"
#include "daemon/host.h"
#include "daemon/tree.h"
#include "protocol/rpc.h"

static const struct host host = {.vmm = "/usr/bin/ferry-vmm", .kvm_reason = "no /dev/kvm", .cpus_max = 8,
                                 .models = {(char *)"x86-64-v1", (char *)"x86-64-v2"}, .model_usable = {true, true}};

#define DEVICES(text) HEAD "<devices>" text "</devices></domain>"
#define HEAD "<domain type='qemu'><name>a</name><memory unit='MiB'>64</memory>"

static struct definition *parse(const char *xml)
{
    struct definition *definition = NULL;
    struct err err = ERR_INIT;
    if (definition_parse(xml, &host, &definition, &err) < 0)
        fail_msg("%s: %s", xml, err.message);
    return definition;
}

static void refused(const char *xml, const char *sentence)
{
    struct definition *definition = NULL;
    struct err err = ERR_INIT;
    if (definition_parse(xml, &host, &definition, &err) == 0)
        fail_msg("%s is accepted", xml);
    assert_null(definition);
    if (strstr(err.message, sentence) == NULL)
        fail_msg("%s: \"%s\" does not say \"%s\"", xml, err.message, sentence);
}

static void test_refusals(void **state)
{
    static const char *const cases[][2] = {
        {"", "XML"},
        {"<network/>", "<domain>"},
        {"<domain><name>a</name><memory>9999</memory></domain>", "needs a type"},
        {"<domain type='xen'><name>a</name><memory>9999</memory></domain>", "type='xen' is not supported; there is: kvm, qemu"},
        {"<domain type='kvm'><name>a</name><memory>9999</memory></domain>",
         "'kvm' is not offered on this host; use type 'qemu'. no /dev/kvm"},
        {"<domain type='qemu'><memory>9999</memory></domain>", "needs a <name>"},
        {"<domain type='qemu'><name>a/b</name><memory>9999</memory></domain>", "contains '/'"},
        {"<domain type='qemu'><name>a</name></domain>", "needs a <memory>"},
        {"<domain type='qemu'><name>a</name><memory>much</memory></domain>", "must be a number, not 'much'"},
        {"<domain type='qemu'><name>a</name><memory unit='EiB'>1</memory></domain>", "no size of memory"},
        {HEAD "<uuid>x</uuid></domain>", "malformed uuid"},
        {HEAD "<vcpu>0</vcpu></domain>", "must be a number from 1 on"},
        {HEAD "<vcpu>9</vcpu></domain>", "maximum CPUs of a domain are 8"},
        {HEAD "<vcpu>1</vcpu><vcpu>2</vcpu></domain>", "there may be only one"},
        {HEAD "<cputune/></domain>", "element <cputune> in <domain>"},
        {HEAD "<memtune>x</memtune></domain>", "element <memtune>"},
        {HEAD "<os><type>xen</type></os></domain>", "'xen' is not supported; there is: hvm"},
        {HEAD "<os><type machine='q35'>hvm</type></os></domain>", "machine='q35' is not supported"},
        {HEAD "<os><loader>/x</loader></os></domain>", "element <loader>"},
        {HEAD "<cpu><topology sockets='2' cores='2'/></cpu></domain>", "sockets times cores"},
        {HEAD "<clock offset='localtime'/></domain>", "offset='localtime' is not supported; there is: utc"},
        {HEAD "<clock offset='utc'><timer name='hpet' present='yes'/></clock></domain>", "no HPET"},
        {HEAD "<clock offset='utc'><timer name='rtc' frequency='2000000000'/></clock></domain>", "only tsc has a frequency"},
        {HEAD "<clock offset='utc'><timer name='tsc' frequency='2000'/></clock></domain>", "hertz from 100000000"},
        {DEVICES("<emulator>/usr/bin/qemu-system-x86_64</emulator>"), "guests of this host run in /usr/bin/ferry-vmm"},
        {DEVICES("<graphics type='vnc'/><sound model='ich6'/>"), "the machine has no display"},
        {DEVICES("<disk device='cdrom'/>"), "device='cdrom' is not supported; there is: disk (the machine has no drives"},
        {DEVICES("<disk><target dev='vda'/></disk>"), "needs a <source>"},
        {DEVICES("<disk><source file='a.img'/><target dev='vda'/></disk>"), "absolute path"},
        {DEVICES("<disk><source file='/a'/></disk>"), "needs a <target>"},
        {DEVICES("<disk><source file='/a'/><target dev='sda'/></disk>"), "would be on bus scsi or sata"},
        {DEVICES("<disk><source file='/a'/><target dev='sda' bus='usb'/></disk>"), "bus='usb' is not supported; there is: virtio"},
        {DEVICES("<disk><source file='/a'/><target dev='vda'/></disk><disk><source file='/b'/><target dev='vda'/></disk>"),
         "two devices <disk> are the same vda"},
        {DEVICES("<interface><source network='n'/></interface>"), "it needs a type"},
        {DEVICES("<interface type='network'/>"), "needs a <source network=...>"},
        {DEVICES("<interface type='direct'/>"), "type='direct' is not supported; there is: network, bridge, user"},
        {DEVICES("<interface type='user'><mac address='53:00:00:00:00:00'/></interface>"), "is no MAC address"},
        {DEVICES("<interface type='user'><model type='e1000'/></interface>"), "type='e1000' is not supported; there is: virtio"},
        {DEVICES("<interface type='user'><address type='pci' slot='0x02'/></interface>"), "PCI slots 0x04 to 0x1f"},
        {DEVICES("<interface type='user'><address type='pci' bus='0x01' slot='0x05'/></interface>"), "one PCI bus"},
        {DEVICES("<console type='file'/>"), "path is absolute"},
        {DEVICES("<console/><console/>"), "more than one console of type serial"},
        {HEAD "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'/></domain>", "no QEMU here"},
        {HEAD "stray</domain>", "it holds a text"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        refused(cases[i][0], cases[i][1]);
}

static void test_facts(void **state)
{
    struct definition *d = parse("<domain type='qemu'><name>  a b </name><memory unit='MB'>100</memory><currentMemory>2048</currentMemory>"
                                 "<vcpu> 3 </vcpu></domain>");
    assert_string_equal(d->name, "a b");
    assert_int_equal(d->memory_kib, 96 * 1024); /* 97656.25 KiB, rounded up to whole MiB */
    assert_int_equal(d->current_kib, 2048);
    assert_int_equal(d->cpus, 3);
    assert_false(d->kvm);
    definition_free(d);
}

static xmlDoc *device(const char *xml, bool to_add)
{
    xmlDoc *doc = NULL;
    struct err err = ERR_INIT;
    if (definition_parse_device(xml, to_add, &doc, &err) < 0)
        fail_msg("%s: %s", xml, err.message);
    return doc;
}

static int find(struct definition *d, const char *xml, struct err *err)
{
    xmlDoc *doc = device(xml, false);
    xmlNode *found = NULL;
    int r = definition_find_device(d, xmlDocGetRootElement(doc), &found, err);
    assert_true(r < 0 || found != NULL);
    xmlFreeDoc(doc);
    return r;
}

static void test_devices_are_found(void **state)
{
    struct err err = ERR_INIT;
    struct definition *d = parse(HEAD "<devices><disk><source file='/a'/><target dev='vda'/></disk>"
                                 "<interface type='network'><source network='n'/><mac address='52:54:00:00:00:01'/></interface>"
                                 "<interface type='network'><source network='n'/><mac address='52:54:00:00:00:0A'/></interface>"
                                 "<interface type='user'><mac address='52:54:00:00:00:03'/></interface></devices></domain>");
    assert_int_equal(find(d, "<disk><target dev='vda'/></disk>", &err), 0);
    assert_int_equal(find(d, "<interface type='user'/>", &err), 0);
    assert_int_equal(find(d, "<interface type='network'><mac address='52:54:00:00:00:0a'/></interface>", &err), 0);
    assert_int_equal(find(d, "<disk><target dev='vdb'/></disk>", &err), RPC_FAULT(RPC_DEVICE_MISSING));
    assert_non_null(strstr(err.message, "no disk vdb"));
    assert_int_equal(find(d, "<interface type='network'><source network='n'/></interface>", &err), RPC_FAULT(RPC_OPERATION_FAILED));
    assert_non_null(strstr(err.message, "multiple devices match"));
    assert_int_equal(find(d, "<memballoon model='virtio'/>", &err), RPC_FAULT(RPC_OPERATION_UNSUPPORTED));
    definition_free(d);
}

static void test_devices_are_added_to_free_slots(void **state)
{
    struct err err = ERR_INIT;
    struct definition *d = parse(HEAD "<devices><disk><source file='/a'/><target dev='vda'/></disk></devices></domain>");
    xmlDoc *doc = device("<interface type='user'/>", true);
    xmlNode *added = NULL;
    unsigned count = 0;
    assert_int_equal(definition_add_device(d, xmlDocGetRootElement(doc), &added, &err), 0);
    assert_int_equal(device_slot(added), 5);
    assert_true(definition_add_device(d, xmlDocGetRootElement(doc), &added, &err) < 0); /* the same MAC address */
    xmlFreeDoc(doc);
    for (char name[96]; count < 26; count++) {
        snprintf(name, sizeof(name), "<disk><source file='/%u'/><target dev='vd%02u'/></disk>", count, count);
        doc = device(name, true);
        assert_int_equal(definition_add_device(d, xmlDocGetRootElement(doc), &added, &err), 0);
        xmlFreeDoc(doc);
    }
    doc = device("<disk><source file='/last'/><target dev='vdlast'/></disk>", true);
    assert_true(definition_add_device(d, xmlDocGetRootElement(doc), &added, &err) < 0);
    assert_non_null(strstr(err.message, "no PCI slot is free"));
    xmlFreeDoc(doc);
    definition_free(d);
}

static void test_live_facts_are_dropped(void **state)
{
    struct buffer out = BUFFER_INIT(1 << 20);
    struct definition *d = parse(HEAD "<devices><interface type='user'><mac address='52:54:00:00:00:01'/></interface></devices></domain>");
    xmlNode *interface = tree_first(definition_devices(d), "interface");
    tree_set(tree_child(interface, "alias"), "name", "net0");
    tree_set(tree_child(interface, "target"), "dev", "vnet7");
    definition_drop_live_facts(d);
    assert_int_equal(definition_format(d, 3, &out), 0);
    assert_null(strstr((char *)out.data, "net0"));
    assert_null(strstr((char *)out.data, "vnet7"));
    assert_non_null(strstr((char *)out.data, "<domain type='qemu' id='3'>"));
    buffer_fini(&out);
    definition_free(d);
}

static void test_host_model_is_settled(void **state)
{
    struct buffer out = BUFFER_INIT(1 << 20);
    struct definition *d = parse(HEAD "<cpu mode='host-model'/></domain>");
    definition_settle_cpu(d, &host);
    assert_int_equal(definition_format(d, -1, &out), 0);
    assert_non_null(strstr((char *)out.data, ">x86-64-v2</model>"));
    assert_null(strstr((char *)out.data, "host-model"));
    buffer_fini(&out);
    definition_free(d);
}

static void test_same_machine(void **state)
{
    struct err err = ERR_INIT;
    struct definition *a = parse(HEAD "<uuid>6a3f6a5c-8d29-4a35-9ba6-6a3b7b7cd101</uuid></domain>"), *b = NULL;
    assert_int_equal(definition_copy(a, &b), 0);
    assert_int_equal(definition_check_same(a, b, &err), 0);
    b->cpus = 2;
    assert_true(definition_check_same(a, b, &err) < 0);
    assert_non_null(strstr(err.message, "1 CPUs, the other document 2"));
    definition_free(a);
    definition_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_devices_are_found),
        cmocka_unit_test(test_devices_are_added_to_free_slots),
        cmocka_unit_test(test_live_facts_are_dropped),
        cmocka_unit_test(test_host_model_is_settled),
        cmocka_unit_test(test_same_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
